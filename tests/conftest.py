"""Fixtures shared by all layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import shortcuts
import synthetic

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each file to one worker of pytest-xdist, unless its tests are marked otherwise."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that knows the bands of `synthetic`."""
    return synthetic.band_model(tmp_path_factory.mktemp("model") / "bands.onnx")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder: unequal classes, so that balance has something to do."""
    return shortcuts.make_once(
        tmp_path_factory, "faces", lambda folder: synthetic.write_data(folder, train=(70, 60, 58))
    )


@pytest.fixture(scope="session")
def fer2013() -> Path:
    """The real data set, where it is: EMOTION_EDGE_DATA, or beside the checkout."""
    named = os.environ.get("EMOTION_EDGE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "fer2013"
    if not folder.is_dir():
        pytest.skip("FER2013 is not here (EMOTION_EDGE_DATA names its folder)")
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
    """Run ``emotion-export`` in this process; each network is converted once, nothing is drawn."""
    from emotion_export.cli import main

    with shortcuts.blank_figures(), shortcuts.conversions_once():
        yield lambda *arguments: CliRunner().invoke(main, [str(one) for one in arguments])
