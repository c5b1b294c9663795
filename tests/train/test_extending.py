"""Runs that are extended to more epochs, with a new learning-rate schedule, and TensorBoard."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from emotion_train import cli
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.run_record import read_record
from synthetic import write_data

Train = Callable[..., Result]
OPTIONS = ("--network", "edge", "--augmentation", "none", "--batch-size", "6")
OPTIONS += ("--validation", "1", "--learning-rate", "1e-3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("extending") / "d", (5, 5, 5), 2)


@pytest.fixture(scope="module")
def finished(data: Path) -> Path:
    """A run of two epochs, with event files."""
    run = data.parent / "run"
    arguments = [str(data), "-o", str(run), *OPTIONS, "--epochs", "2", "--tensorboard"]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert f"curves: tensorboard --logdir {run}/tensorboard" in result.stderr
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be continued."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def read_history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


def read_scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in tags}


def test_a_finished_run_continues_with_the_schedule_of_its_new_length(
    run: Path, data: Path, train: Train
) -> None:
    result = train(data, "-o", run, "--resume", "--epochs", "4")
    assert result.exit_code == 0, result.output
    told = "4 epochs instead of 2 since epoch 2, with the learning-rate schedule recomputed for"
    assert told in result.stderr
    rates = [float(row["learning_rate"]) for row in read_history(run)]
    assert len(rates) == 4
    assert rates[1] == pytest.approx(0, abs=1e-12)  # the end of the cosine over two epochs
    # Two steps an epoch and one of warm-up: the learning rates after six and eight of eight steps.
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 7)) for step in (6, 8)]
    assert rates[2:] == pytest.approx(expected, abs=1e-9)
    extension = {"after": 2, "planned": 2, "epochs": 4}
    assert json.loads((run / "run.json").read_text())["extensions"] == [extension]
    last = load_checkpoint(run / "last.pt")
    assert last.training["extensions"] == [extension]
    assert last.training["epochs"] == 4
    assert "- extended: 4 epochs instead of 2" in (run / "report" / "report.md").read_text()
    # The curves have all four epochs, each once.
    scalars = read_scalars(run)
    assert [step for step, _ in scalars["loss/train"]] == [1, 2, 3, 4]
    losses = [float(row["validation_loss"]) for row in read_history(run)]
    assert [value for _, value in scalars["loss/validation"]] == pytest.approx(losses)
    assert {"accuracy/validation", "learning_rate", "images_per_second"} <= scalars.keys()


def test_an_extension_that_was_interrupted_reaches_the_same_weights(
    run: Path, data: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    assert train(data, "-o", whole, "--resume", "--epochs", "4").exit_code == 0
    say = cli.say

    def stop(message: str) -> None:
        say(message)
        if message.startswith("epoch   3/"):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "say", stop)
    assert train(data, "-o", run, "--resume", "--epochs", "4").exit_code == 130
    monkeypatch.setattr(cli, "say", say)
    result = train(data, "-o", run, "--resume")
    assert result.exit_code == 0, result.output
    assert "resuming after epoch 3" in result.stderr
    first, second = (load_checkpoint(one / "last.pt").weights for one in (whole, run))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert len(read_record(run).extensions) == 1


def test_resuming_a_finished_run_reports_that_it_is_complete(
    run: Path, data: Path, train: Train
) -> None:
    result = train(data, "-o", run, "--resume")
    assert result.exit_code == 0, result.output
    assert "all epochs are done: only the report is written again (--epochs N, more than 2" in (
        result.stderr
    )
    shorter = train(data, "-o", run, "--resume", "--epochs", "1")
    assert shorter.exit_code == 2
    assert "has done 2 epochs already: --epochs 1 cannot end it earlier" in shorter.stderr
    assert len(read_history(run)) == 2


def test_other_pictures_are_refused_in_an_extension_too(
    run: Path, data: Path, train: Train, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(data, tmp_path / "other"))
    shutil.copy(other / "test/happy/000.png", other / "train/happy/new.png")
    before = (run / "run.json").read_bytes()
    result = train(other, "-o", run, "--resume", "--epochs", "4")
    assert result.exit_code == 1
    assert "have changed since the run started" in result.stderr
    assert (run / "run.json").read_bytes() == before


def test_a_damaged_extension_is_refused(run: Path, data: Path, train: Train) -> None:
    values = json.loads((run / "run.json").read_text())
    values["extensions"] = [{"after": 2, "planned": "x", "epochs": 4}]
    (run / "run.json").write_text(json.dumps(values))
    result = train(data, "-o", run, "--resume")
    assert result.exit_code == 1
    assert "damaged" in result.stderr


def test_event_files_of_a_resumed_run_contain_the_earlier_epochs(
    run: Path, data: Path, train: Train
) -> None:
    shutil.rmtree(run / "tensorboard")
    result = train(data, "-o", run, "--resume", "--epochs", "3", "--tensorboard")
    assert result.exit_code == 0, result.output
    assert [step for step, _ in read_scalars(run)["learning_rate"]] == [1, 2, 3]


def test_without_tensorboard_its_option_is_refused_before_the_data_are_read(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_runtime.command_line import extras

    monkeypatch.setitem(extras.EXTRA_MODULES, "tensorboard", ("no_such_package",))
    result = train(tmp_path / "nowhere", "-o", tmp_path / "r", "--tensorboard")
    assert result.exit_code == 1
    assert "--tensorboard needs no_such_package, which is not installed" in result.stderr
    assert "[tensorboard]" in result.stderr


def test_a_resumed_run_without_tensorboard_warns_that_its_curves_end(
    run: Path, data: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_runtime.command_line import extras

    monkeypatch.setitem(extras.EXTRA_MODULES, "tensorboard", ("no_such_package",))
    result = train(data, "-o", run, "--resume")
    assert result.exit_code == 0, result.output
    assert "warning: no further event files: TensorBoard needs no_such_package" in result.stderr
