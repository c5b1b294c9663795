from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import shortcuts


@pytest.fixture(scope="session")
def run_dir(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training, to have something to export."""
    from emotion_train.cli import main

    def run(folder: Path) -> None:
        arguments = [str(data_folder), "-o", str(folder), "--network", "edge", "--epochs", "6"]
        arguments += ["-q", "--batch-size", "8", "--validation", "20", "--learning-rate", "3e-4"]
        with shortcuts.blank_figures():
            result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output

    return shortcuts.make_once(tmp_path_factory, "trained_run", run)
