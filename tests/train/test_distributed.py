"""Two processes under torchrun train the same network as one process."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint
from synthetic import write_data

EPOCHS = 4


def options(data: Path, folder: Path) -> list[str]:
    # `baseline` has no batch normalisation: its gradient does not depend on how a batch is divided.
    return [
        str(data), "-o", str(folder), "--network", "baseline", "--epochs", str(EPOCHS),
        "--batch-size", "9", "--augmentation", "none", "--optimizer", "sgd",
        "--learning-rate", "0.01", "--validation", "46", "--no-test", "--precision", "fp32",
    ]  # fmt: skip


def torchrun(
    data: Path, folder: Path, *more: str, on_line: Callable[[str], None] = lambda _: None
) -> str:
    """Train in two processes and return their output; `on_line` is called with each line."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *more]
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, *launcher, "-m", "train_without_figures", *options(data, folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            on_line(line)
    output = "".join(lines)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty training faces a class; balanced, so that no copies are augmented."""
    return write_data(tmp_path_factory.mktemp("data") / "faces", (66, 66, 66), 4)


@pytest.fixture(scope="module")
def two_processes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder and the output of an uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, torchrun(data, folder)


def epochs(folder: Path) -> list[str]:
    with (folder / "history.csv").open() as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def rank_one(folder: Path) -> int | None:
    """Find the process of rank 1 that writes to `folder`."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # ended, or of another user
            continue
        if os.fsencode(folder) in command and b"RANK=1" in environment:
            return int(entry.name)
    return None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_a_killed_worker_does_not_change_the_result(
    two_processes: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    folder, killed = tmp_path / "run", []

    def kill_one(line: str) -> None:
        if not killed and line.startswith(f"epoch   2/{EPOCHS}"):
            found = rank_one(folder)
            assert found is not None
            os.kill(found, signal.SIGKILL)
            killed.append(found)

    # More than one restart: gloo may fail to reconnect at once.
    output = torchrun(data, folder, "--max-restarts=2", on_line=kill_one)
    assert killed
    assert "resuming after epoch" in output
    assert "resuming after epoch" not in two_processes[1]
    assert epochs(folder) == epochs(two_processes[0]) == list("1234")
    undisturbed = load_checkpoint(two_processes[0] / "last.pt").weights
    for name, value in load_checkpoint(folder / "last.pt").weights.items():
        assert torch.equal(value, undisturbed[name]), name


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one(
    two_processes: tuple[Path, str], data: Path, tmp_path: Path, train: Callable[..., Result]
) -> None:
    alone = train(*options(data, tmp_path / "run"))
    assert alone.exit_code == 0, alone.output
    folder, output = two_processes
    for text in (alone.stdout, output):
        assert text.count("audit:") == 1, "only one process prints"
    assert epochs(folder) == epochs(tmp_path / "run") == list("1234")
    weights = load_checkpoint(tmp_path / "run" / "last.pt").weights
    for name, value in load_checkpoint(folder / "last.pt").weights.items():
        assert torch.allclose(value, weights[name], atol=1e-5), name


def test_a_number_of_processes_that_is_no_number(
    monkeypatch: pytest.MonkeyPatch, train: Callable[..., Result], tmp_path: Path
) -> None:
    data = write_data(tmp_path / "d", (8, 8, 8), 0)
    monkeypatch.setenv("WORLD_SIZE", "many")
    result = train(data, "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert "WORLD_SIZE is 'many', not a number of processes" in result.output


def test_missing_cuda_is_an_error(
    tmp_path: Path,
    data_folder: Path,
    train: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.chdir(tmp_path)
    result = train(data_folder, "--device", "cuda")
    assert result.exit_code == 1
    assert "no CUDA device" in result.stderr
    assert "Traceback" not in result.output
