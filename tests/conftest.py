"""Fixtures shared by all layers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import synthetic

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that knows the bands of `synthetic`."""
    return synthetic.band_model(tmp_path_factory.mktemp("model") / "bands.onnx")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder: unequal classes, so that balance has something to do."""
    return synthetic.write_data(tmp_path_factory.mktemp("data") / "faces", train=(70, 60, 58))


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
def train() -> Callable[..., Result]:
    """Run ``emotion-train`` in this process."""
    from emotion_train.cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def make_page() -> Callable[..., Result]:
    """Run ``emotion-page`` in this process."""
    from emotion_export.page_cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def export() -> Callable[..., Result]:
    """Run ``emotion-export`` in this process."""
    from emotion_export.cli import main

    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])
