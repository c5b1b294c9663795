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
from collections.abc import Callable
from pathlib import Path

import emotion_models
from emotion_export.card_html import card_html
from emotion_export.errors import PageError
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
_SOURCES = Path(__file__).parent / "page"
_PLAIN = ("page.js", "worker.js", "contract.js", "pixels.js", "style.css")
_FILLED = ("index.html", "card.html")


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
        runtime: The npm package onnxruntime-web, unpacked or as .tgz; None fetches it with npm.
        overwrite: Replace a page that is there.
        say: Told what is done.

    Returns:
        `folder`.

    Raises:
        ModelFileError: The model is none that this toolkit made.
        PageError: onnxruntime-web cannot be had, or is another than the one that is known.
        OutputError: The folder cannot be written, or holds something else.
    """
    classifier = EmotionClassifier(model)  # opens, and so checks, the file
    _check_folder(folder, overwrite=overwrite)
    files = _runtime_files(runtime, say)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
            page = Path(made) / "page"
            (page / "ort").mkdir(parents=True)
            for file, data in files.items():
                (page / "ort" / file).write_bytes(data)
            name = classifier.model_path.stem
            shutil.copyfile(classifier.model_path, page / f"{name}.onnx")
            values = {"model": html.escape(name), "card": _card(classifier)}
            for file in _FILLED:
                text = string.Template((_SOURCES / file).read_text(encoding="utf-8"))
                (page / file).write_text(text.substitute(values), encoding="utf-8")
            for file in _PLAIN:
                shutil.copyfile(_SOURCES / file, page / file)
            page.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            page.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    return folder


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse to replace what is no page of ours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder.")
    inside = {path.name for path in folder.iterdir()}
    if inside and not (overwrite and {"page.js", "worker.js", "ort"} <= inside):
        hint = "; --overwrite replaces it" if {"page.js", "ort"} <= inside else ""
        raise OutputError(f"{folder}: is not empty{hint}.")


def _card(classifier: EmotionClassifier) -> str:
    """Return the released model's card as HTML; of another file, what it says of itself."""
    path = classifier.model_path
    name = path.stem
    if name in emotion_models.names() and path == emotion_models.model_path(name):
        return card_html(emotion_models.card_path(name).read_text(encoding="utf-8"))
    described = json.dumps(classifier.contract.describe(), indent=2, ensure_ascii=False)
    return f"<h1>{html.escape(name)}</h1>\n<pre>{html.escape(described)}</pre>"


def _runtime_files(source: Path | None, say: Callable[[str], None]) -> dict[str, bytes]:
    """Read onnxruntime-web's files, each held against its SHA-256."""
    with tempfile.TemporaryDirectory() as scratch:
        if source is None:
            say(f"fetching onnxruntime-web {ONNXRUNTIME_WEB} with npm")
            source = _fetched(Path(scratch))
        try:
            files = _from_folder(source) if source.is_dir() else _from_archive(source)
        except (OSError, tarfile.TarError, KeyError) as error:
            raise PageError(f"{source}: not the npm package onnxruntime-web ({error}).") from error
    for name, digest in _RUNTIME.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise PageError(
                f"{source}: its {name} is not that of onnxruntime-web {ONNXRUNTIME_WEB}, the one "
                f"that the page is tested with."
            )
    return files


def _from_folder(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "dist" / name).read_bytes() for name in _RUNTIME}


def _from_archive(path: Path) -> dict[str, bytes]:
    files = {}
    with tarfile.open(path) as archive:
        for name in _RUNTIME:
            member = archive.extractfile(f"package/dist/{name}")
            if member is None:
                raise KeyError(name)
            files[name] = member.read()
    return files


def _fetched(scratch: Path) -> Path:
    """Let npm fetch the package, which also holds it against the registry's checksum."""
    npm = shutil.which("npm")
    if npm is None:
        raise PageError(
            f"npm is not installed, which would fetch onnxruntime-web {ONNXRUNTIME_WEB}; install "
            f"it, or name the unpacked package with --onnxruntime-web."
        )
    command = [npm, "pack", "--silent", f"onnxruntime-web@{ONNXRUNTIME_WEB}"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    found = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or not found:
        reason = " ".join(done.stderr.split())[:200] or f"exit code {done.returncode}"
        raise PageError(f"npm could not fetch onnxruntime-web {ONNXRUNTIME_WEB} ({reason}).")
    return found[0]
