from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from synthetic import CLASSES, DARK, write_data


@pytest.fixture(scope="session")
def run_dir(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training, to have something to export."""
    from emotion_train.cli import main

    folder = tmp_path_factory.mktemp("trained") / "run"
    arguments = [str(data_folder), "-o", str(folder), "--epochs", "6", "--batch-size", "8"]
    arguments += ["-q", "--validation", "20", "--learning-rate", "3e-4"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="session")
def four_class_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of three classes, and neutral ones without a band."""
    folder = tmp_path_factory.mktemp("data") / "four"
    return write_data(folder, train=(50, 50, 50, 50), test=4, classes=(*CLASSES, DARK))


@pytest.fixture(scope="session")
def four_class_run(four_class_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on four classes, some of which a file may keep."""
    from emotion_train.cli import main

    folder = tmp_path_factory.mktemp("trained") / "four"
    arguments = [str(four_class_data), "-o", str(folder), "--epochs", "6", "--batch-size", "8"]
    arguments += ["-q", "--validation", "20", "--learning-rate", "3e-4"]
    arguments += ["--classes", ",".join((*CLASSES, DARK)), "--network", "edge"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return folder
