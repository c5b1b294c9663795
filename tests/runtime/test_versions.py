"""The version of a package is found without its metadata too."""

from __future__ import annotations

import importlib.metadata
import sys
from types import SimpleNamespace

import pytest
from PIL import __version__ as pillow_version

from emotion_runtime import versions
from emotion_runtime.versions import find_version


def test_the_version_is_that_of_the_metadata() -> None:
    assert find_version("numpy") == importlib.metadata.version("numpy")


def test_without_metadata_the_module_tells_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a one-file program, or with onnxruntime-gpu in the place of onnxruntime."""

    def fail(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", fail)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="1.2.3"))
    assert find_version("onnxruntime") == "1.2.3"
    assert find_version("Pillow") == pillow_version
    assert find_version("no-such-package") is None
