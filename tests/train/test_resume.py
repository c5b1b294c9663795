"""A killed and resumed run has exactly the result of an uninterrupted one."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow
EPOCHS = 6


def options(data: Path, folder: Path, *more: str) -> list[str]:
    return [
        str(data), "-o", str(folder), "--network", "edge",
        "--epochs", str(EPOCHS), "--batch-size", "8", "--learning-rate", "0.002",
        "--validation", "46", *more,
    ]  # fmt: skip


def epochs_done(folder: Path) -> int:
    try:
        with (folder / "history.csv").open() as file:
            return len(list(csv.reader(file))) - 1
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def killed(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Start a run and kill it in the middle."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    command = [sys.executable, "-m", "emotion_train", *options(data_folder, folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while epochs_done(folder) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    return folder


def test_a_resumed_run_has_the_result_of_an_uninterrupted_one(
    killed: Path, data_folder: Path, tmp_path: Path, train: Callable[..., Result]
) -> None:
    done = epochs_done(killed)
    assert 2 <= done < EPOCHS
    assert not [path.name for path in killed.iterdir() if path.suffix == ".tmp"]
    whole = tmp_path / "whole"
    assert train(*options(data_folder, whole)).exit_code == 0
    resumed = train(*options(data_folder, killed, "--resume"))
    assert resumed.exit_code == 0, resumed.output
    assert "resuming after epoch" in resumed.stderr
    for name in ("best.pt", "last.pt"):
        a, b = load_checkpoint(whole / name), load_checkpoint(killed / name)
        for key, value in a.weights.items():
            assert torch.equal(value, b.weights[key]), f"{key} of {name}"
        assert a.temperature == b.temperature
    read = [
        [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
            for row in rows
        ]
        for rows in (list(csv.DictReader((f / "history.csv").open())) for f in (whole, killed))
    ]
    assert read[0] == read[1]


def test_a_resumed_run_keeps_its_recipe(
    killed: Path, data_folder: Path, train: Callable[..., Result]
) -> None:
    result = train(data_folder, "-o", killed, "--resume", "--learning-rate", "0.5")
    assert result.exit_code == 2
    assert "learning_rate 0.002" in result.stderr
