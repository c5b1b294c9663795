"""Fixtures shared by all layers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import shortcuts
import synthetic

ROOT = Path(__file__).parent.parent


# Fixtures that take seconds to make: a test that needs one is slow.
SLOW_FIXTURES = {"run_dir", "fer2013", "two_workers", "browser", "firefox", "npm_archive"}


@pytest.hookimpl(tryfirst=True)  # before -m is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests; with pytest-xdist, run the files with many of them first.

    A long file that starts last would keep the other workers waiting.
    """
    slow: Counter[Path] = Counter()
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        slow[item.path] += item.get_closest_marker("slow") is not None
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that knows the bands of `synthetic`."""
    return synthetic.band_model(tmp_path_factory.mktemp("model") / "bands.onnx")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder with classes of unequal size."""
    return shortcuts.make_once(
        tmp_path_factory, "faces", lambda folder: synthetic.write_data(folder, train=(70, 60, 58))
    )


@pytest.fixture(scope="session")
def fer2013() -> Path:
    """The real data set, from EMOTION_EDGE_DATA or beside the checkout."""
    named = os.environ.get("EMOTION_EDGE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "fer2013"
    if not folder.is_dir():
        pytest.skip("FER2013 is not found (set EMOTION_EDGE_DATA to its folder)")
    return folder


@pytest.fixture
def infer() -> Callable[..., Result]:
    """Run ``emotion-infer`` in this process."""
    from emotion_runtime.infer.cli import main

    return lambda *arguments, **options: CliRunner().invoke(
        main, [str(argument) for argument in arguments], **options
    )


@pytest.fixture
def evaluate() -> Callable[..., Result]:
    """Run ``emotion-eval`` in this process."""
    from emotion_runtime.evaluate.cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def train() -> Iterator[Callable[..., Result]]:
    """Run ``emotion-train`` in this process, without drawing the figures of its report."""
    from emotion_train.cli import main

    with shortcuts.blank_figures():
        yield lambda *arguments: CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def make_page() -> Callable[..., Result]:
    """Run ``emotion-page`` in this process."""
    from emotion_export.page_cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def export() -> Iterator[Callable[..., Result]]:
    """Run ``emotion-export`` in this process; each network is converted once, without figures."""
    from emotion_export.cli import main

    with shortcuts.blank_figures(), shortcuts.conversions_once():
        yield lambda *arguments: CliRunner().invoke(main, [str(one) for one in arguments])
