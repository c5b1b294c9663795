"""Fixtures for the tests of the documentation."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import shortcuts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation site, built with warnings as errors."""
    for module in ("sphinx", "furo", "myst_parser", "torch", "onnx"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed, so that the site is not built")

    def build(folder: Path) -> None:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"),
                *("-d", str(folder.with_suffix(".doctrees")), str(ROOT / "docs"), str(folder)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr

    return shortcuts.make_once(tmp_path_factory, "site", build)
