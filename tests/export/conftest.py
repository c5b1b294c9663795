from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner


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
