from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import shortcuts
from synthetic import CLASSES, DARK, write_data


@pytest.fixture(scope="session")
def run_dir(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training."""
    return shortcuts.make_once(
        tmp_path_factory, "trained_run", lambda folder: _train(data_folder, folder)
    )


@pytest.fixture(scope="session")
def four_class_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of three classes, and neutral faces without a band."""

    def write(folder: Path) -> None:
        write_data(folder, train=(50, 50, 50, 50), test=4, classes=(*CLASSES, DARK))

    return shortcuts.make_once(tmp_path_factory, "four_classes", write)


@pytest.fixture(scope="session")
def four_class_run(four_class_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training on four classes."""

    def train(folder: Path) -> None:
        _train(four_class_data, folder, "--classes", ",".join((*CLASSES, DARK)))

    return shortcuts.make_once(tmp_path_factory, "four_class_run", train)


def _train(data: Path, folder: Path, *options: str) -> None:
    from emotion_train.cli import main

    arguments = [str(data), "-o", str(folder), "--network", "edge", "--epochs", "6", "-q"]
    arguments += ["--batch-size", "8", "--validation", "20", "--learning-rate", "3e-4", *options]
    with shortcuts.blank_figures():
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
