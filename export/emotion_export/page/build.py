"""A static folder that runs a model file in the browser: the page, the file, onnxruntime-web.

Needs neither PyTorch nor onnx: the file is used as it is.
"""

from __future__ import annotations

import hashlib
import html
import json
import shutil
import string
import subprocess
import tarfile
import tempfile
import unicodedata
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path

import emotion_models
from emotion_export.errors import PageError, reason_of
from emotion_export.page.card_html import card_html
from emotion_export.page.reference_pictures import reference_pictures
from emotion_runtime.atomic import name_in_errors
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.errors import OutputError

ONNXRUNTIME_WEB = "1.23.2"  # 1.30 is 7 % faster on int8, and 2.3 MB more to load
# What is copied from its npm package, with SHA-256: a page is as trusted as what it runs.
_RUNTIME = dict(
    line.split()
    for line in """
ort.wasm.min.mjs 69751720f611e37d1ce2fa3c6ebaa80f949014752636c5f8887a63d40feadcc7
ort-wasm-simd-threaded.mjs 90a557d15c02bac4504d95b67f431d8594635ed2a0a62a7f2cd83d090ff91d3e
ort-wasm-simd-threaded.wasm 45eaee27761ad883742a8d4b8fce1538d60ce43b51adf1726fafccc59b8c1a15
""".splitlines()
    if line
)
MAX_MODEL_BYTES = 256 * 1024**2  # contract.js loads no more
_MAX_RUNTIME_FILE_BYTES = 64 * 1024**2  # the largest that is copied has 11 MB
_FETCH_SECONDS = 600
_SOURCES = Path(__file__).parent
_PLAIN = ("page.js", "worker.js", "contract.js", "pixels.js", "style.css")
_FILLED = ("index.html", "card.html")
_REFERENCE = "reference.json"


def write_page(
    model: str | None,
    folder: Path,
    *,
    runtime: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the folder, whole or not at all.

    Args:
        model: A model file, or a released model's name; None for the default one.
        folder: Where to; it must not exist, or be empty, or be a page already with `overwrite`.
            A symbolic link is followed.
        runtime: The npm package onnxruntime-web, unpacked or as .tgz; None fetches it with npm.
        overwrite: Replace a page that is there; a folder that holds anything else is refused.
        say: Told what is done.

    Returns:
        `folder`.

    Raises:
        ModelFileError: The model is none that this toolkit made.
        PageError: onnxruntime-web cannot be had, or is another than the one that is known; or the
            model file is too large for the page, or has a name that no address can carry.
        OutputError: The folder cannot be written, or holds something else.
    """
    classifier = EmotionClassifier(model)  # opens, and so checks, the file
    source = classifier.model_path
    _check_model(source)
    target = _resolved(folder)
    with name_in_errors(folder):
        _check_folder(target, folder, overwrite=overwrite)
    files = _runtime_files(runtime, say)
    with name_in_errors(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".page.") as made:
            page = Path(made) / "page"
            (page / "ort").mkdir(parents=True)
            for file, data in files.items():
                (page / "ort" / file).write_bytes(data)
            shutil.copyfile(source, page / f"{source.stem}.onnx")
            (page / _REFERENCE).write_text(reference_pictures(), encoding="utf-8")
            values = {
                "title": html.escape(source.stem),
                # "./" lest a colon in the name makes a scheme of it.
                "model": "./" + urllib.parse.quote(f"{source.stem}.onnx", safe=""),
                "card": _card(classifier),
            }
            for file in _FILLED:
                text = string.Template((_SOURCES / file).read_text(encoding="utf-8"))
                (page / file).write_text(text.substitute(values), encoding="utf-8")
            for file in _PLAIN:
                shutil.copyfile(_SOURCES / file, page / file)
            _check_folder(target, folder, overwrite=overwrite)  # npm may have taken minutes
            _put(page, target, aside=Path(made) / "earlier")
    return folder


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a cycle of links; a NUL in the name
        raise OutputError(f"{folder}: cannot be written ({reason_of(error)}).") from error


def _put(page: Path, target: Path, *, aside: Path) -> None:
    """Rename `page` to `target`; what was there is removed after that, and not before."""
    if not target.exists():
        page.rename(target)
        return
    page.chmod(target.stat().st_mode)
    target.rename(aside)
    try:
        page.rename(target)
    except BaseException:
        aside.rename(target)
        raise


def _check_model(path: Path) -> None:
    """Refuse a file that the page could not load."""
    size = path.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise PageError(
            f"{path}: has {size / 1024**2:.0f} MB; a page loads {MAX_MODEL_BYTES / 1024**2:.0f} MB "
            f"at most."
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path.name):
        raise PageError(
            f"{path}: its name, which becomes an address of the page, has a control character or "
            f"is not UTF-8; rename the file."
        )


def _check_folder(target: Path, folder: Path, *, overwrite: bool) -> None:
    """Refuse to replace what is no page of ours, or what holds files of somebody else.

    Args:
        target: The folder itself, links resolved.
        folder: Its name in messages.
        overwrite: A page may be replaced.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder.")
    here = Path.cwd()
    if target in (here, *here.parents):
        raise OutputError(
            f"{folder}: would be replaced with the current folder in it; run this from elsewhere."
        )
    inside = {path.name for path in target.iterdir()}
    if not inside:
        return
    if not {"page.js", "ort"} <= inside:
        raise OutputError(f"{folder}: is not empty.")
    if not overwrite:
        raise OutputError(f"{folder}: is not empty; --overwrite replaces it.")
    others = sorted(inside - {*_PLAIN, *_FILLED, _REFERENCE, "ort"})
    models = [name for name in others if name.endswith(".onnx")]
    if len(models) == 1:
        others.remove(models[0])
    in_ort = {path.name for path in (target / "ort").iterdir()}
    others += sorted(f"ort/{name}" for name in in_ort - _RUNTIME.keys())
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise OutputError(
            f"{folder}: holds {', '.join(others[:3])}{more}, which no page has; move what is yours "
            f"elsewhere, or name another folder."
        )


def _card(classifier: EmotionClassifier) -> str:
    """Return the released model's card as HTML; of another file, what it says of itself."""
    path = classifier.model_path
    name = path.stem
    if name in emotion_models.names() and path == emotion_models.model_path(name):
        return card_html(emotion_models.card_path(name).read_text(encoding="utf-8"))
    described = json.dumps(classifier.contract.describe(), indent=2, ensure_ascii=False)
    # Half a character, which JSON can hold and UTF-8 cannot.
    described = described.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"<h1>{html.escape(name)}</h1>\n<pre>{html.escape(described)}</pre>"


def _runtime_files(source: Path | None, say: Callable[[str], None]) -> dict[str, bytes]:
    """Read onnxruntime-web's files, each held against its SHA-256."""
    with tempfile.TemporaryDirectory() as scratch:
        if source is None:
            say(f"fetching onnxruntime-web {ONNXRUNTIME_WEB} with npm")
            source = _fetched(Path(scratch))
        try:
            files = _from_folder(source) if source.is_dir() else _from_archive(source)
        except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
            raise PageError(
                f"{source}: not the npm package onnxruntime-web ({reason_of(error)})."
            ) from error
    for name, digest in _RUNTIME.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise PageError(
                f"{source}: its {name} is not that of onnxruntime-web {ONNXRUNTIME_WEB}, the one "
                f"that the page is tested with."
            )
    return files


def _from_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in _RUNTIME:
        path = folder / "dist" / name
        if not path.is_file() or path.stat().st_size > _MAX_RUNTIME_FILE_BYTES:
            raise ValueError(f"no dist/{name} in it")
        files[name] = path.read_bytes()
    return files


def _from_archive(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise ValueError("neither a folder nor a file")
    files = {}
    with tarfile.open(path) as archive:
        # One pass: a member may be a link to itself, or claim more bytes than there are.
        for member in archive:
            name = member.name.removeprefix("package/dist/")
            if name in _RUNTIME and name != member.name and member.isreg():
                stream = archive.extractfile(member)
                if stream is not None and member.size <= _MAX_RUNTIME_FILE_BYTES:
                    files[name] = stream.read()
            if len(files) == len(_RUNTIME):
                return files
    missing = next(name for name in _RUNTIME if name not in files)
    raise ValueError(f"no package/dist/{missing} in it")


def _fetched(scratch: Path) -> Path:
    """Let npm fetch the package, which also holds it against the registry's checksum."""
    package = f"onnxruntime-web@{ONNXRUNTIME_WEB}"
    npm = shutil.which("npm")
    if npm is None:
        raise PageError(
            f"npm is not installed, which would fetch onnxruntime-web {ONNXRUNTIME_WEB}; install "
            f"it, or name the unpacked package with --onnxruntime-web."
        )
    command = [npm, "pack", "--loglevel=error", "--fetch-retries=1"]
    command += ["--fetch-retry-mintimeout=1000", package]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, check=False, timeout=_FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise _not_fetched(f"no end after {_FETCH_SECONDS} seconds") from None
    except OSError as error:
        raise _not_fetched(error.strerror or reason_of(error)) from error
    found = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or not found:
        raise _not_fetched(_npm_reason(done.stderr) or f"exit code {done.returncode}")
    return found[0]


def _npm_reason(written: bytes) -> str:
    """Return the line of npm's errors that is meant for a person."""
    lines = written.decode("utf-8", "replace").splitlines()
    words = [line.removeprefix("npm error").split() for line in lines]
    told = (line for line in words if line and line[0] not in ("code", "syscall", "errno"))
    return " ".join(next(told, []))[:200]


def _not_fetched(reason: str) -> PageError:
    return PageError(
        f"npm could not fetch onnxruntime-web {ONNXRUNTIME_WEB} ({reason}); without a network, "
        f"name the package, fetched elsewhere by npm pack, with --onnxruntime-web."
    )
