"""Runs that end by time or by patience, with a clock that the test moves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.errors import RunError
from emotion_train.recipe import Recipe
from emotion_train.run import Run
from emotion_train.run_record import read_record
from emotion_train.training.distributed import TrainingProcess
from emotion_train.training.planning import PLANNED
from emotion_train.training.time_budget import MAX_EPOCHS, Pace, TimeBudget
from emotion_train.training.trainer import Trainer
from synthetic import write_data

Train = Callable[..., Result]


class Clock:
    """Seconds that pass when a training epoch or a measurement reads them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A machine where an epoch takes `seconds_per_epoch`, and a step was measured as 1 second."""
    clock = Clock()
    clock.seconds_per_epoch = 0.0  # type: ignore[attr-defined]
    train_epoch = Trainer._train_epoch

    def timed(self: Trainer, *arguments: object) -> float:
        clock.now += clock.seconds_per_epoch  # type: ignore[attr-defined]
        return train_epoch(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_train_epoch", timed)
    return clock


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("few") / "d", (10, 10, 10), 2)


def train_within(
    minutes: float, clock: Clock, data: Path, folder: Path, **options: object
) -> tuple[list[str], dict[str, object]]:
    told: list[str] = []
    run = Run(
        data=data,
        folder=folder,
        process=TrainingProcess(),
        say=told.append,
        show=lambda _: None,
        with_test=False,
        threads=1,
        budget=TimeBudget(minutes, clock, clock()),
        progress=False,
    )
    figures = run.train(Recipe(network="edge"), choose=PLANNED, **options)  # type: ignore[arg-type]
    return told, figures


class TestPlan:
    def test_it_leaves_time_for_the_evaluations_and_the_report(self) -> None:
        budget = TimeBudget(10, lambda: 0.0, 0.0)
        epochs, seconds = budget.plan_epochs(Pace(0.1, 0.01), steps=100, held_out=500, report=60)
        assert 14 <= seconds <= 16
        assert epochs * seconds + 60 <= 600
        assert (epochs + 5) * seconds + 60 > 600

    def test_time_that_has_passed_is_not_there_any_more(self) -> None:
        pace = Pace(0.1, 0.0)
        early = TimeBudget(10, lambda: 0.0, 0.0).plan_epochs(pace, steps=100, held_out=0, report=0)
        late = TimeBudget(10, lambda: 300.0, 0.0).plan_epochs(pace, steps=100, held_out=0, report=0)
        assert early[0] > late[0] > early[0] // 2 - 2

    def test_too_little_time_is_refused_with_what_is_needed(self) -> None:
        budget = TimeBudget(1, lambda: 30.0, 0.0)
        with pytest.raises(RunError, match=r"--max-minutes 1 is too short.* about 2.7 minutes"):
            budget.plan_epochs(Pace(1.0, 0.0), steps=100, held_out=0, report=24)

    def test_hours_for_a_few_pictures_are_not_all_used(self) -> None:
        budget = TimeBudget(600, lambda: 0.0, 0.0)
        epochs, _ = budget.plan_epochs(Pace(0.01, 0.0), steps=2, held_out=0, report=0)
        assert epochs == MAX_EPOCHS


def test_a_run_ends_within_its_minutes_and_tells_its_plan(
    data: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "measure_pace", lambda *_: Pace(15.0, 0.0))
    clock.seconds_per_epoch = 15.1  # type: ignore[attr-defined]
    told, figures = train_within(1, clock, data, tmp_path / "run")
    assert clock.now <= 160
    assert "validation" in figures
    record = read_record(tmp_path / "run")
    assert record.recipe.epochs == 3
    assert record.options is not None
    assert record.options.max_minutes == 1
    assert record.plan[0].startswith("planned for --max-minutes 1: 3 epochs of about 15 seconds")
    assert set(record.plan) <= set(told)
    assert len(rows(tmp_path / "run")) == 3
    # The cosine ends with the run.
    best = load_checkpoint(tmp_path / "run" / "last.pt")
    assert best.training["recipe"]["epochs"] == 3


def test_a_machine_that_slows_down_stops_the_run_in_time(
    data: Path, tmp_path: Path, clock: Clock, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "measure_pace", lambda *_: Pace(5.0, 0.0))
    clock.seconds_per_epoch = 20.0  # type: ignore[attr-defined]
    folder = tmp_path / "run"
    told, _ = train_within(1, clock, data, folder)
    assert clock.now <= 160
    planned = read_record(folder).recipe.epochs
    assert len(rows(folder)) == 2 < planned
    assert any(line.startswith(f"stopped after epoch 2 of {planned}: the machine") for line in told)
    assert f"of 2 (stopped early, {planned} were planned)" in report(folder)
    # The rest can be trained later, by the same schedule.
    resumed = train(data, "-o", folder, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert len(rows(folder)) == planned == read_record(folder).recipe.epochs
    record = read_record(folder)
    assert record.options is not None
    assert record.options.max_minutes == 1
    assert record.plan[0].startswith("planned for")


def test_the_pace_is_measured_and_leaves_no_trace_in_the_weights(
    data: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planned run learns what a run with the same number of epochs learns."""
    paces = []

    def plan_epochs(_: TimeBudget, pace: Pace, **__: object) -> tuple[int, float]:
        paces.append(pace)
        return 2, 1.0

    monkeypatch.setattr(TimeBudget, "plan_epochs", plan_epochs)
    monkeypatch.setattr(TimeBudget, "measuring_seconds", 0.0)
    planned = train(data, "-o", tmp_path / "a", "--max-minutes", "60", "--no-test")
    assert planned.exit_code == 0, planned.output
    assert paces[0].step_seconds > 0
    assert paces[0].face_seconds > 0
    again = train(data, "-o", tmp_path / "b", "--no-test", "--epochs", 2)
    assert again.exit_code == 0, again.output
    first, second = (load_checkpoint(tmp_path / name / "last.pt") for name in "ab")
    for name, value in first.weights.items():
        assert torch.equal(value, second.weights[name])


def test_patience_stops_and_a_resumed_run_stays_stopped(
    data: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    options = (data, "-o", folder, "--epochs", 9, "--no-test")
    monkeypatch.setattr(Trainer, "best_row", property(lambda self: self.history[0]))
    result = train(*options, "--patience", 2)
    assert result.exit_code == 0, result.output
    expected = "stopped after epoch 3 of 9: epoch 1 is still the best after 2 more (--patience 2)"
    assert expected in result.stderr
    assert len(rows(folder)) == 3
    assert "of 3 (stopped early, 9 were planned)" in report(folder)
    assert read_record(folder).recipe.patience == 2
    resumed = train(data, "-o", folder, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert expected in resumed.stderr
    assert len(rows(folder)) == 3


@pytest.mark.parametrize(("faces", "kept"), [(18, 3), (2_000, 1)])
def test_few_held_out_faces_do_not_choose_an_early_epoch(faces: int, kept: int) -> None:
    """Inside the interval of the best, the latest is kept; many faces can tell epochs apart."""
    trainer = object.__new__(Trainer)
    trainer.soft_labels = {}
    trainer.dataset = SimpleNamespace(selection=range(faces))  # type: ignore[assignment]
    trainer.history = [
        {"epoch": epoch, "selection_accuracy": accuracy, "selection_loss": 0.5}
        for epoch, accuracy in ((1, 0.9), (2, 0.8), (3, 0.75), (4, 0.3))
    ]
    assert trainer.best_row["epoch"] == 1
    assert trainer.kept_row["epoch"] == kept


def test_epochs_and_minutes_exclude_each_other(data: Path, tmp_path: Path, train: Train) -> None:
    result = train(data, "-o", tmp_path / "run", "--epochs", 3, "--max-minutes", 1)
    assert result.exit_code == 2
    assert "--epochs and --max-minutes both fix how long to train" in result.stderr
    assert train(data, "-o", tmp_path / "run", "--max-minutes", 0).exit_code == 2


def test_a_resumed_run_is_not_planned_anew(data: Path, tmp_path: Path, train: Train) -> None:
    begun = train(data, "-o", tmp_path / "run", "--epochs", 1, "--no-test")
    assert begun.exit_code == 0, begun.output
    result = train(data, "-o", tmp_path / "run", "--resume", "--max-minutes", 5)
    assert result.exit_code == 2
    assert "the run to resume has 1 epoch," in result.stderr


def test_what_is_chosen_is_told_and_recorded(data: Path, tmp_path: Path, train: Train) -> None:
    result = train(data, "-o", tmp_path / "run", "--no-test", "--epochs", 2, "--device", "cpu")
    assert result.exit_code == 0, result.output
    [line] = re.findall("^chosen for .*$", result.stderr, re.MULTILINE)
    assert "--batch-size 16" in line
    assert "--epochs" not in line  # was given
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    assert values["recipe"]["network"] == "edge"
    assert values["recipe"]["batch_size"] == 16
    assert values["plan"] == [line]


@pytest.mark.parametrize("count", [2, 10])
def test_very_few_pictures_are_learned_from(tmp_path: Path, train: Train, count: int) -> None:
    data = write_data(tmp_path / "d", (count, count, count), 2)
    result = train(data, "-o", tmp_path / "run", "--epochs", 2)
    assert result.exit_code == 0, result.output


def test_one_picture_of_a_class_is_refused(tmp_path: Path, train: Train) -> None:
    data = write_data(tmp_path / "d", (5, 1, 5), 2)
    result = train(data, "-o", tmp_path / "run", "--epochs", 1)
    assert result.exit_code == 1
    assert "the class sad has 1 training picture; at least 2 are needed" in result.stderr


def rows(folder: Path) -> list[str]:
    return (folder / "history.csv").read_text().splitlines()[1:]


def report(folder: Path) -> str:
    return (folder / "report" / "report.md").read_text()


def test_a_limit_beyond_all_numbers_gives_the_most_epochs() -> None:
    budget = TimeBudget(1e308)
    assert budget.plan_epochs(Pace(0.1, 0.1), steps=9, held_out=9, report=1.0)[0] == MAX_EPOCHS
