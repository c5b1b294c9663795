"""Two processes under torchrun learn what one learns."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emotion_train.checkpoint import load_checkpoint
from synthetic import write_data


def test_two_processes_reach_the_weights_of_one(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (66, 66, 66), 4)  # balanced: nothing is augmented
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [
            sys.executable, *launcher, "-m", "emotion_train", str(data), "-o", str(folder),
            "--epochs", "2", "--batch-size", "9", "--augmentation", "none", "--workers", "0",
            "--optimizer", "sgd", "--learning-rate", "0.01",
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("audit:") == 1, "one process speaks"
        weights.append(load_checkpoint(folder / "last.pt").weights)
        with (folder / "history.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 2
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-5), name


def test_cuda_asked_for_and_not_there_is_said(tmp_path: Path, data_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    command = [sys.executable, "-m", "emotion_train", str(data_folder), "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    assert "Traceback" not in done.stderr
