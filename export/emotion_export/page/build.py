"""Write the web page: a static folder with the page, a model file and onnxruntime-web.

It needs neither PyTorch nor onnx: the model file is copied.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import html
import json
import lzma
import re
import shutil
import string
import tempfile
import unicodedata
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import emotion_models
from emotion_export.errors import PageError
from emotion_export.page.onnxruntime_web import read_onnxruntime_web
from emotion_export.page.reference_pictures import make_reference_pictures
from emotion_runtime.atomic import name_in_errors
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.errors import OutputError, format_reason

MAX_MODEL_BYTES = 256 * 1024**2  # as in contract.js
_SOURCES = Path(__file__).parent
# The modules of the library, of which emotion-edge.js is the door.
MODULE_FILES = (
    *("emotion-edge.js", "worker.js", "watch.js", "tracker.js", "finder.js", "detector.js"),
    *("network.js", "contract.js", "pixels.js", "jpeg.js", "orientation.js", "colours.js"),
    *("resample.js", "damage.js", "runtime.js", "files.js", "lzma.js"),
)
# In a folder of its own, since a model file may have any name.
DETECTOR_FILE = "detector/retinaface.onnx.gz"
# What npm has → what the page has. Many hosts send .mjs as a type that browsers refuse as a script.
RUNTIME_FILES = {
    "ort.wasm.min.mjs": "ort/ort.wasm.min.js",
    "ort-wasm-simd-threaded.mjs": "ort/ort-wasm-simd-threaded.js",
    "ort-wasm-simd-threaded.wasm": "ort/ort-wasm-simd-threaded.wasm.lzma",
}
_INTERFACE_FILES = ("start.js", "page.js", "results.js", "table.js", "live.js", "style.css")
_PICTURES = tuple(sorted(f"pictures/{path.name}" for path in (_SOURCES / "pictures").iterdir()))
_COPIED_FILES = (*_INTERFACE_FILES, *MODULE_FILES, *_PICTURES)
_TEMPLATES = ("index.html", "card.html")
_REFERENCE_FILE = "reference.json.gz"
_SERVICE_WORKER = "service-worker.js"
_FOLDERS = ("ort", "detector", "pictures")
# Files of earlier versions, which --overwrite replaces too.
_EARLIER_FILES = (
    *(f"ort/{name}" for name in RUNTIME_FILES),
    *("detector/retinaface.onnx", "reference.json"),
)
# Comments on lines of their own, and types: a third of the scripts, which few hosts compress.
_COMMENT = re.compile(
    r"^[ \t]*(?://.*|/\*\*(?s:.*?)\*/)[ \t]*\n|/\*\* @type .*?\*/ ?", re.MULTILINE
)
# 1.9 MB instead of 3.1 with gzip, in 10 instead of 1 seconds; higher presets save nothing.
_LZMA = {"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": 2**24, "lc": 4, "lp": 0, "pb": 0}
_LZMA_SIZE = slice(5, 13)  # where the header of an LZMA file has the size of its content


def write_page(
    model: str | None,
    folder: Path,
    *,
    runtime: Path | None = None,
    overwrite: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the folder of the page. If anything fails, it does not change.

    Args:
        model: A model file, or the name of a released model; None for the default model.
        folder: The folder. It must not exist, or be empty, or, with `overwrite`, be a page. A
            symbolic link is followed.
        runtime: The npm package onnxruntime-web, unpacked or as .tgz; None to download it with
            npm.
        overwrite: Replace an existing page. A folder with any other file is refused.
        log: Called with each message.

    Returns:
        `folder`.

    Raises:
        ModelFileError: The model file was not made by this toolkit.
        PageError: onnxruntime-web cannot be downloaded or has another version, or the model file
            is too large or has a name that cannot be part of a URL.
        OutputError: The folder cannot be written, or has other files.
    """
    classifier = EmotionClassifier(model)  # checks the file
    source = classifier.model_path
    _check_model(source)
    target = _resolve(folder)
    with name_in_errors(folder):
        _check_folder(target, folder, overwrite=overwrite)
    files = read_onnxruntime_web(runtime, log)
    with name_in_errors(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".page.") as made:
            page = Path(made) / "page"
            for name in _FOLDERS:
                (page / name).mkdir(parents=True)
            log("compressing the WebAssembly file")
            for file, data in files.items():
                name = RUNTIME_FILES[file]
                (page / name).write_bytes(_compress(data) if name.endswith(".lzma") else data)
            model_file = f"{source.stem}.onnx.gz"
            detector = emotion_models.detector_path("retinaface")
            content = source.read_bytes()
            for data, name in ((content, model_file), (detector.read_bytes(), DETECTOR_FILE)):
                (page / name).write_bytes(gzip.compress(data, mtime=0))
            references = gzip.compress(make_reference_pictures().encode(), mtime=0)
            (page / _REFERENCE_FILE).write_bytes(references)
            first = (model_file, RUNTIME_FILES["ort-wasm-simd-threaded.wasm"])
            values = {
                "title": html.escape(source.stem),
                # With "./", a colon in the name does not start a URL scheme.
                "model": "./" + urllib.parse.quote(model_file, safe=""),
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": str(sum((page / name).stat().st_size for name in first)),
                "card": _read_card(classifier),
            }
            for file in _TEMPLATES:
                text = string.Template((_SOURCES / file).read_text(encoding="utf-8"))
                (page / file).write_text(text.substitute(values), encoding="utf-8")
            for file in _COPIED_FILES:
                if file.endswith(".js"):
                    script = (_SOURCES / file).read_text(encoding="utf-8")
                    (page / file).write_text(_COMMENT.sub("", script), encoding="utf-8")
                else:
                    shutil.copyfile(_SOURCES / file, page / file)
            (page / _SERVICE_WORKER).write_text(_make_service_worker(page), encoding="utf-8")
            _check_folder(target, folder, overwrite=overwrite)  # npm may have taken minutes
            _replace_folder(page, target, aside=Path(made) / "earlier")
    return folder


@functools.cache
def _compress(data: bytes) -> bytes:
    """Compress as LZMA, with the size in the header, where lzma.js needs it."""
    packed = bytearray(lzma.compress(data, format=lzma.FORMAT_ALONE, filters=[_LZMA]))
    packed[_LZMA_SIZE] = len(data).to_bytes(8, "little")
    return bytes(packed)


def _make_service_worker(page: Path) -> str:
    """Return the service worker of a page, with the names and SHA-256 of the page's files."""
    files = {
        urllib.parse.quote(path.relative_to(page).as_posix()): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(page.rglob("*"))
        if path.is_file()
    }
    text = (_SOURCES / _SERVICE_WORKER).read_text(encoding="utf-8")
    before, after = text.split("const FILES = {};")
    return f"{before}const FILES = {json.dumps(files, indent=2)};{after}"


def _resolve(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a cycle of links, or NUL in the name
        raise OutputError(f"{folder}: cannot be written ({format_reason(error)}).") from error


def _replace_folder(page: Path, target: Path, *, aside: Path) -> None:
    """Rename `page` to `target`. An existing folder is first moved to `aside`, not deleted."""
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
    """Refuse a model file that the page could not load."""
    size = path.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise PageError(
            f"{path}: has {size / 1024**2:.0f} MB; a page loads at most "
            f"{MAX_MODEL_BYTES / 1024**2:.0f} MB."
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path.name):
        raise PageError(
            f"{path}: its name has a control character or is not UTF-8, so it cannot be part of a "
            f"URL; rename the file."
        )


def _check_folder(target: Path, folder: Path, *, overwrite: bool) -> None:
    """Refuse to replace a folder that is not a page, or has other files.

    Args:
        target: The folder, with links resolved.
        folder: Its name in messages.
        overwrite: An existing page may be replaced.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{folder}: is a file; give a folder.")
    here = Path.cwd()
    if target in (here, *here.parents):
        raise OutputError(
            f"{folder}: contains the current folder, so it cannot be replaced; run this elsewhere."
        )
    inside = {path.name for path in target.iterdir()}
    if not inside:
        return
    if not {"page.js", "ort"} <= inside:
        raise OutputError(f"{folder}: is not empty.")
    if not overwrite:
        raise OutputError(f"{folder}: is not empty; --overwrite replaces it.")
    pages = {*_COPIED_FILES, *_TEMPLATES, _REFERENCE_FILE, _SERVICE_WORKER, DETECTOR_FILE}
    known = pages | {*RUNTIME_FILES.values(), *_EARLIER_FILES}
    others = sorted(inside - known - {*_FOLDERS})
    models = [name for name in others if name.endswith((".onnx", ".onnx.gz"))]
    if len(models) == 1:
        others.remove(models[0])
    for name in sorted(inside & set(_FOLDERS)):
        others += sorted({f"{name}/{path.name}" for path in (target / name).iterdir()} - known)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise OutputError(
            f"{folder}: has {', '.join(others[:3])}{more}, which no page has; move these files, or "
            f"give another folder."
        )


def _read_card(classifier: EmotionClassifier) -> str:
    """Return the card of a released model, or the metadata of another file, as HTML."""
    path = classifier.model_path
    name = path.stem
    if name in emotion_models.names() and path == emotion_models.model_path(name):
        return emotion_models.card_html_path(name).read_text(encoding="utf-8")
    metadata = json.dumps(classifier.contract.describe(), indent=2, ensure_ascii=False)
    # JSON may contain lone surrogates, which UTF-8 cannot encode.
    metadata = metadata.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"<h1>{html.escape(name)}</h1>\n<pre>{html.escape(metadata)}</pre>"
