"""The released models: names, files, and their SHA-256 in ``SHA256SUMS``."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "DEFAULT_MODEL",
    "card_html_path",
    "card_path",
    "checkpoint_names",
    "checkpoint_path",
    "checksums",
    "detector_path",
    "model_path",
    "names",
]

#: The name of the released model that is used where none is named.
DEFAULT_MODEL = "edge-int8"

_HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Return the names of the released models, sorted."""
    return tuple(sorted(checksums()))


def model_path(name: str = DEFAULT_MODEL) -> Path:
    """Return the file of a released model.

    Raises:
        KeyError: No released model has that name.
    """
    if name not in checksums():
        raise KeyError(f"no released model {name!r}; there are {', '.join(names())}")
    return _HERE / f"{name}.onnx"


def checkpoint_names() -> tuple[str, ...]:
    """Return the names of the released checkpoints, sorted; training can start from them."""
    return tuple(sorted(path.stem for path in (_HERE / "checkpoints").glob("*.pt")))


def checkpoint_path(name: str) -> Path:
    """Return the checkpoint from which the model files of a released network were exported.

    Raises:
        KeyError: No released checkpoint has that name.
    """
    if name not in checkpoint_names():
        available = ", ".join(checkpoint_names())
        raise KeyError(f"no released checkpoint {name!r}; there are {available}")
    return _HERE / "checkpoints" / f"{name}.pt"


def card_path(name: str) -> Path:
    """Return the model card of a released model or detector, a Markdown file."""
    return _HERE / "cards" / f"{name}.md"


def detector_path(name: str) -> Path:
    """Return the file of a face detector; its card names its source."""
    return _HERE / "detectors" / f"{name}.onnx"


def checksums() -> dict[str, str]:
    """Return name → hexadecimal SHA-256, from ``SHA256SUMS``."""
    lines = (_HERE / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines)
    return {file.removesuffix(".onnx"): digest for digest, file in pairs}


def card_html_path(name: str) -> Path:
    """Return the path of a released model's card as HTML, a fragment for the web page."""
    return _HERE / "cards" / f"{name}.html"
