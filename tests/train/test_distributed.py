"""Two processes under torchrun learn what one learns."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emotion_train.checkpoints.checkpoint import load_checkpoint
from synthetic import write_data


def torchrun(*arguments: object, options: tuple[str, ...] = ()) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", *options]
    return [*launcher, "-m", "emotion_train", *map(str, arguments)]


def rank_one(folder: Path) -> int | None:
    """Find the process of rank 1 that writes to `folder`."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if os.fsencode(folder) in command and b"RANK=1" in environment:
            return int(entry.name)
    return None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_a_worker_that_dies_loses_nothing(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (66, 66, 66), 4)
    options = (
        "--epochs",
        "6",
        "--batch-size",
        "10",
        "--augmentation",
        "light",
        "--validation",
        "46",
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    weights = []
    for dies in (False, True):
        folder = tmp_path / str(dies)
        # More than one: gloo itself may fail to meet again at once.
        command = torchrun(
            data, "-o", folder, *options, options=("--nproc-per-node=2", "--max-restarts=2")
        )
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            lines, killed = [], None
            for line in process.stdout:
                lines.append(line)
                if dies and not killed and line.startswith("epoch   2/6"):
                    killed = rank_one(folder)
                    assert killed is not None
                    os.kill(killed, signal.SIGKILL)
        output = "".join(lines)
        assert process.returncode == 0, output
        assert ("resuming after epoch" in output) == dies, output
        weights.append(load_checkpoint(folder / "last.pt").weights)
        with (folder / "history.csv").open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == list("123456")
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_two_processes_reach_the_weights_of_one(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (66, 66, 66), 4)  # balanced: nothing is augmented
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [
            sys.executable, *launcher, "-m", "emotion_train", str(data), "-o", str(folder),
            "--epochs", "2", "--batch-size", "9", "--augmentation", "none",
            "--optimizer", "sgd", "--learning-rate", "0.01", "--validation", "46",
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
