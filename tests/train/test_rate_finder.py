"""The learning-rate range test: its curve and its suggestion."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from emotion_train.data.dataset import load_dataset
from emotion_train.errors import RunError
from emotion_train.recipe import Recipe
from emotion_train.report.rate_curve import write_rate_curve
from emotion_train.run_folder import RunFolder
from emotion_train.training import rate_finder
from emotion_train.training.distributed import TrainingProcess
from emotion_train.training.rate_finder import RangeTest, find_learning_rate
from emotion_train.training.trainer import Trainer

Train = Callable[..., Result]
OPTIONS = ("--network", "edge", "--augmentation", "none", "--batch-size", "8")


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_finder, "MIN_STEPS", 60)


def test_it_suggests_a_rate_and_shows_the_next_command(
    train: Train, data_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    options = (*OPTIONS, "--find-learning-rate", "--epochs", "9", "--class", "sad")
    options += ("--class", "happy", "--learning-rate", "0.5", "--no-balance")
    result = train(data_folder, "-o", out, *options)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["learning_rate.csv", "learning_rate.png"]
    with (out / "learning_rate.csv").open() as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-5)
    smoothed = np.array([float(row["smoothed_loss"]) for row in rows])
    found = re.search(r"learning rate: (\S+), a third of the (\S+) where", result.stdout)
    assert found
    suggestion, lowest = map(float, found.groups())
    assert suggestion == pytest.approx(lowest / 3, rel=0.1)
    assert lowest >= float(f"{rates[int(smoothed.argmin())]:.2g}")
    assert "not used by --find-learning-rate: --learning-rate, --epochs" in result.stderr
    following = result.stderr.splitlines()[-1]
    assert following == (
        f"next: emotion-train {data_folder} --class sad --class happy --network edge --epochs 9 "
        f"--batch-size 8 --augmentation none --no-balance --learning-rate {suggestion:g}"
    )
    again = train(data_folder, "-o", out, *options)
    assert again.exit_code == 1
    assert "holds a learning-rate search already" in again.stderr


def test_choices_that_it_does_not_use_are_not_printed(
    train: Train, data_folder: Path, tmp_path: Path
) -> None:
    options = ("--network", "edge", "--augmentation", "none", "--find-learning-rate")
    result = train(data_folder, "-o", tmp_path / "search", *options)
    assert result.exit_code == 0, result.output
    (chosen,) = [line for line in result.stderr.splitlines() if line.startswith("chosen for")]
    assert chosen.endswith("training pictures: --batch-size 16")


def test_it_is_deterministic_and_suggests_a_rate_that_works(data_folder: Path) -> None:
    dataset = load_dataset(data_folder, validation_per_class=46)
    recipe = Recipe("edge", dataset.classes, batch_size=8, augmentation="none", averaging=0.0)
    first, again = (
        find_learning_rate(Trainer(dataset, recipe, TrainingProcess())) for _ in range(2)
    )
    assert first.losses.tolist() == again.losses.tolist()
    assert 1e-4 < first.suggestion < first.lowest < 1
    assert first.rates[0] < first.steepest <= first.lowest
    assert first.smoothed.min() < 0.7 * first.smoothed[0]


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    rates = np.geomspace(1e-5, 1, 50)
    losses = np.abs(np.log10(rates) + 2)
    write_rate_curve(
        RunFolder(tmp_path), rates, losses, losses, {"suggested": 3e-3, "lowest loss": 1e-2}
    )
    with Image.open(tmp_path / "learning_rate.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(100_000) or ()) > 20


def test_the_suggestion_is_a_third_of_the_rate_of_the_lowest_loss() -> None:
    rates = np.geomspace(1e-4, 1, 5)
    smoothed = np.array([1.0, 0.9, 0.5, 0.45, 2.0])
    found = RangeTest(rates, smoothed, smoothed, has_diverged=True)
    assert found.lowest == pytest.approx(0.1)
    assert found.suggestion == pytest.approx(0.033)
    assert found.steepest in rates[1:3]


def test_a_loss_that_falls_only_by_noise_gives_no_rate(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(data_folder, validation_per_class=46)
    recipe = Recipe("edge", dataset.classes, batch_size=8, augmentation="none", averaging=0.0)
    trainer = Trainer(dataset, recipe, TrainingProcess())
    rng = np.random.default_rng(0)

    def take_step(
        network: object, pixels: object, targets: object, total: int, weights: object
    ) -> torch.Tensor:
        return torch.tensor(total * rng.normal(1.1, 0.05))

    monkeypatch.setattr(trainer, "take_step", take_step)
    with pytest.raises(RunError, match="fell at no learning rate from 1e-05 to 1 by more than"):
        find_learning_rate(trainer)


@pytest.mark.parametrize("flag", ["--resume", "--tensorboard"])
def test_options_of_a_run_are_refused(train: Train, tmp_path: Path, flag: str) -> None:
    result = train(tmp_path, "-o", tmp_path / "r", "--find-learning-rate", flag)
    assert result.exit_code == 2
    assert f"trains no run: leave {flag} out" in result.stderr


def test_of_rates_that_are_equal_within_the_noise_the_highest_counts() -> None:
    rates = np.geomspace(1e-4, 1e-1, 7)
    smoothed = np.array([1.0, 0.70, 0.72, 0.71, 0.705, 0.9, 1.2])
    assert RangeTest(rates, smoothed, smoothed, True).lowest == pytest.approx(rates[1])
    assert RangeTest(rates, smoothed, smoothed, True, noise=0.01).lowest == pytest.approx(rates[4])
