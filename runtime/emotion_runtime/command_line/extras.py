"""Find missing optional packages, and the command that installs them."""

from __future__ import annotations

import json
import os
import shlex
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_DISTRIBUTION = "emotion-edge"
_TRAIN_MODULES = ("torch", "sklearn", "matplotlib", "tqdm", "cleanlab")
# Modules of the extras in pyproject.toml, and no others, in the order of the check.
EXTRA_MODULES = {
    "train": _TRAIN_MODULES,
    "export": (*_TRAIN_MODULES, "onnx", "onnxscript", "onnxsim", "jinja2"),
    "faces": ("cv2",),
    "ray": ("ray", "pyarrow"),
    "tensorboard": ("tensorboard",),
}


def find_missing_module(extra: str) -> str | None:
    """Return the first module of an extra that is not installed, without importing any."""
    return next((name for name in EXTRA_MODULES[extra] if find_spec(name) is None), None)


def format_missing_message(what: str, module: str, extra: str) -> str:
    """Return the message about a missing module, with the command that installs its extra.

    Args:
        what: What needs it, as the beginning of the message.
        module: The module's name.
        extra: The extra that contains it.
    """
    return f"{what} needs {module}, which is not installed; run\n  {make_install_command(extra)}"


def make_install_command(extra: str) -> str:
    """Return the command that installs an extra from the source of this installation.

    The package may not be on an index. pip records the source of an installation (PEP 610), which
    the command names. An installation from an index has no such record; the command then uses the
    name of the package.
    """
    source = _find_source()
    if source is None:
        return f"pip install {_quote(f'{_DISTRIBUTION}[{extra}]')}"
    editable, place = source
    return f"pip install {'-e ' if editable else ''}{_quote(_add_extra(place, extra))}"


def _find_source() -> tuple[bool, str] | None:
    """Return whether the installation is editable, and its path or URL; None from an index."""
    checkout = Path(__file__).resolve().parents[3]
    try:
        text = metadata.distribution(_DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        # Not installed, but run from a checkout.
        return (True, str(checkout)) if _is_project(checkout) else None
    if text is None:
        return None
    try:
        record = json.loads(text)
        url = str(record["url"])
        vcs = record.get("vcs_info")
        editable = bool(record.get("dir_info", {}).get("editable", False))
        if vcs:
            return False, f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if urlsplit(url).scheme != "file":
        return False, url
    path = Path(url2pathname(urlsplit(url).path))
    if path.is_file() or _is_project(path):
        return editable, str(path)
    return None  # the source no longer exists


def _is_project(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file()


def _add_extra(place: str, extra: str) -> str:
    """Return a requirement: a path followed by the extra, or a name with its URL (PEP 508)."""
    if "://" in place:
        return f"{_DISTRIBUTION}[{extra}] @ {place}"
    return f"{place}[{extra}]"


def _quote(text: str) -> str:
    return f'"{text}"' if os.name == "nt" else shlex.quote(text)
