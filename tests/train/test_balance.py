"""Class balance: copies of rare classes, weights in the loss, or neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.class_weights import compute_class_weights, parse_class_weights
from emotion_train.data.balance import compute_balance, draw_copies
from emotion_train.data.dataset import load_dataset
from emotion_train.data.faces import Faces
from emotion_train.recipe import Recipe
from emotion_train.training.distributed import TrainingProcess
from emotion_train.training.targets import make_label_targets
from emotion_train.training.trainer import Trainer
from synthetic import CLASSES, write_data

Train = Callable[..., Result]
SHORT = ("--epochs", "1", "--augmentation", "none", "--batch-size", "8", "--network", "edge")


def faces(*counts: int) -> Faces:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    pixels = np.zeros((len(labels), 48, 48), np.uint8)
    return Faces(pixels, labels, tuple(f"{n}.png" for n in range(len(labels))))


@pytest.mark.parametrize(
    ("balance", "total"),
    [("full", [100, 100, 100]), ("sqrt", [100, 50, 20]), ("none", [100, 25, 4])],
)
def test_copies_balance_a_class_fully_partly_or_not(balance: str, total: list[int]) -> None:
    train = faces(100, 25, 4)
    table = compute_balance(train, 3, balance)
    assert table.total.tolist() == total
    copies = draw_copies(table, np.random.default_rng(0))
    assert np.bincount(train.labels[copies], minlength=3).tolist() == table.copies.tolist()


def test_an_unknown_balance_is_refused() -> None:
    with pytest.raises(ValueError, match="full, sqrt, none, not 'half'"):
        compute_balance(faces(1, 1), 2, "half")


def test_with_soft_labels_a_face_counts_for_the_class_with_most_of_its_target() -> None:
    train = faces(3, 1, 0)
    targets = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]], np.float32)
    table = compute_balance(train, 3, "full", targets)
    assert table.labels.tolist() == [0, 1, 0, 1]  # of equal parts, the label
    assert table.original.tolist() == [2, 2, 0]
    assert table.copies.tolist() == [0, 0, 0]  # the third class has no faces to copy


def test_weights_by_name_may_contain_commas_and_equals_signs() -> None:
    assert parse_class_weights("a,b=2, c=d=0.5,e=1e-1") == {"a,b": 2, "c=d": 0.5, "e": 0.1}
    for text in ("happy", "happy=0", "happy=-1", "happy=1,happy=2", "=1", "a=1,,b", "a=1.2.3"):
        with pytest.raises(ValueError, match=r"neither|weight"):
            parse_class_weights(text)


def test_class_weights_have_a_mean_of_one_over_the_training_faces() -> None:
    targets = make_label_targets(faces(6, 3, 1), 3)
    assert compute_class_weights("none", CLASSES, targets) is None
    balanced = compute_class_weights("balanced", CLASSES, targets)
    assert balanced is not None
    assert balanced.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    named = compute_class_weights("surprise=5", CLASSES, targets)
    assert named is not None
    assert named[2] / named[0] == pytest.approx(5)
    assert float(named @ targets.sum(axis=0)) == pytest.approx(10)


def test_the_loss_is_weighted_by_class(data_folder: Path) -> None:
    dataset = load_dataset(data_folder, validation_per_class=46)
    losses = []
    for weights in ("none", "happy=1,sad=3,surprise=1"):
        recipe = Recipe("edge", CLASSES, balance="none", class_weights=weights, label_smoothing=0)
        trainer = Trainer(dataset, recipe, TrainingProcess())
        sad = torch.from_numpy(dataset.train.pixels[dataset.train.labels == 1][:4, None])
        targets = torch.eye(3)[[1] * 4]
        losses.append(float(trainer.take_step(trainer.network, sad, targets, 4)))
    counts = dataset.train.count_by_class(3)
    expected = 3 * counts.sum() / (counts.sum() + 2 * counts[1])
    assert losses[1] / losses[0] == pytest.approx(expected, rel=1e-4)


def test_a_run_without_copies_reports_and_records_it(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 6, 6), 2)
    run = tmp_path / "run"
    options = ("--class-weights", "sad=2,happy=1")
    result = train(data, "-o", run, *SHORT, *options)
    assert result.exit_code == 0, result.output
    assert "no copies of rare classes; class weights of the loss: happy" in result.stderr
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert rows["copies"] == ["copies", "0", "0", "0", "0"]
    recipe = load_checkpoint(run).training["recipe"]
    assert recipe["balance"] == "none"
    assert recipe["class_weights"] == "happy=1.0,sad=2.0"
    assert json.loads((run / "run.json").read_text())["recipe"] == recipe
    again = train(data, "-o", run, "--resume", *options)
    assert again.exit_code == 0, again.output
    for other, message in (
        (("--class-weights", "balanced"), "has class_weights happy=1.0,sad=2.0, not balanced"),
        (("--balance", "sqrt"), "has balance none, not sqrt"),
    ):
        refused = train(data, "-o", run, "--resume", *other)
        assert refused.exit_code == 2
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--no-balance", "--balance", "full"), "--no-balance is --balance none"),
        (("--class-weights", "balanced", "--balance", "sqrt"), "a second time"),
        (("--class-weights", "happy"), "neither balanced nor of the form NAME=WEIGHT"),
        (("--class-weights", ""), "no weight is given"),
        (("--classes", "happy,sad", "--class-weights", "angry=2"), "no class is named 'angry'"),
    ],
)
def test_choices_that_exclude_each_other_are_refused(
    train: Train, data_folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = train(data_folder, "-o", tmp_path / "r", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "r").exists()


def test_weights_of_a_class_that_the_data_lack_are_refused(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (6, 6, 6), 0)
    result = train(data, "-o", tmp_path / "r", "--class-weights", "angry=2")
    assert result.exit_code == 1
    assert "--class-weights: no class is named 'angry'; they are happy, sad" in result.stderr
