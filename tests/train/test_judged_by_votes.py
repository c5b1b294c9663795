"""A run that is trained on votes is also evaluated on them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.errors import DataError
from emotion_train.networks import build_network
from emotion_train.recipe import Recipe
from emotion_train.report.tables import describe_split, describe_train_loss
from synthetic import CLASSES, write_data

Train = Callable[..., Result]
HEADER = "path,happiness,sadness,surprise,contempt,not_a_face"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run with votes that are sad for happy faces and happy for sad ones."""
    from emotion_train.cli import main

    folder = tmp_path_factory.mktemp("votes")
    data = write_data(folder / "d", (40, 40, 40), 4)
    rows = []
    for split, count in (("train", 40), ("test", 4)):
        for number in range(count):
            rows += [
                f"{split}/happy/{number:03}.png,1,8,0,1,0",
                f"{split}/sad/{number:03}.png,9,0,0,1,0",
            ]
    (folder / "votes.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    torch.manual_seed(5)
    weights = build_network("edge", 3).state_dict()
    Checkpoint("edge", CLASSES, weights).save(folder / "start.pt")
    arguments: list[object] = [data, "-o", folder / "run", "--network", "edge", "--epochs", "3"]
    arguments += ["--votes", folder / "votes.csv", "--vote-weight", "1", "--validation", "20"]
    arguments += ["--augmentation", "none", "--label-smoothing", "0", "--coverage", "0.9"]
    arguments += ["--start-from", folder / "start.pt"]
    return folder, CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_best_epoch_has_the_lowest_loss_on_votes(run: tuple[Path, Result]) -> None:
    folder, result = run
    assert result.exit_code == 0, result.output
    with (folder / "run" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["validation_votes_loss"]) for row in rows]
    assert [float(row["selection_loss"]) for row in rows] == losses
    assert all(0 <= float(row["validation_majority_accuracy"]) <= 1 for row in rows)
    assert losses != [float(row["validation_loss"]) for row in rows]
    best = load_checkpoint(folder / "run")
    assert best.training["epoch"] == 1 + int(np.argmin(losses))
    assert best.training["chosen_by"] == "votes"
    assert f"loss on votes {losses[0]:.4f}" in result.stderr


def test_pictures_without_usable_votes_are_reported(run: tuple[Path, Result]) -> None:
    told = run[1].stderr
    assert (
        "votes: they choose the epoch, temperature and threshold, on 60 held-out pictures; 20 "
        "without usable votes count by label" in told
    )
    assert (
        "votes: 40 of 400 on the training pictures are for none of the classes (contempt 40) and "
        "are left out; the others of each picture are scaled to add up to 1" in told
    )


def test_figures_name_their_reference(run: tuple[Path, Result]) -> None:
    folder, result = run
    metrics = load_checkpoint(folder / "run").metrics
    assert metrics["judged_by"] == "votes"
    test = metrics["test"]
    assert test["pictures"] == 12
    agreed = test["annotators_agree"]
    assert agreed["pictures"] == agreed["listed"] == 8
    assert agreed["without_usable_votes"] == 4
    assert agreed["original_labels"] == 0
    assert agreed["classes"]["happy"]["support"] == 4
    low, high = agreed["accuracy_interval"]
    assert low <= agreed["accuracy"] <= high
    assert metrics["validation"]["annotators_agree"]["pictures"] == 40
    assert metrics["validation"]["calibration"] == "out of fold"
    summary = result.stdout.splitlines()[-1]
    assert summary.startswith("test: annotators' majority: ")
    assert "; labels: " in summary
    assert "confidence threshold" in summary
    assert metrics == json.loads((folder / "run" / "report" / "metrics.json").read_text())


def test_the_report_names_the_data_of_each_figure(run: tuple[Path, Result]) -> None:
    text = (run[0] / "run" / "report" / "report.md").read_text()
    assert "(reliability.png)" in text
    assert (run[0] / "run" / "report" / "reliability.png").stat().st_size > 10_000
    assert "## Against the annotators' majority" in text
    assert "The epoch was chosen on the validation pictures, by the cross-entropy with" in text
    assert "| validation | 60 | epoch, temperature, threshold |" in text
    assert "Expected calibration error against the votes" in text
    assert "measured out of fold" in text
    assert "start.pt was trained with other held-out faces" in text
    assert "**Warning: the temperature 0.10 is at the limit of its range" in text


def test_the_report_of_a_resumed_run_has_the_warnings_of_its_start(
    run: tuple[Path, Result], train: Train, tmp_path: Path
) -> None:
    folder = run[0]
    (folder / "run" / "report" / "report.md").unlink()
    (folder / "start.pt").rename(tmp_path / "moved.pt")
    again = train(folder / "d", "-o", folder / "run", "--resume")
    (tmp_path / "moved.pt").rename(folder / "start.pt")
    assert again.exit_code == 0, again.output
    text = (folder / "run" / "report" / "report.md").read_text()
    assert text.count("start.pt was trained with other held-out faces") == 1


def test_a_run_whose_epoch_was_chosen_by_labels_cannot_be_resumed(
    run: tuple[Path, Result], train: Train, tmp_path: Path
) -> None:
    import shutil
    from dataclasses import replace

    folder = shutil.copytree(run[0] / "run", tmp_path / "run")
    last = load_checkpoint(folder / "last.pt")
    assert last.resume is not None
    rows = [
        {name: value for name, value in row.items() if "votes" not in name}
        for row in last.resume["history"]
    ]
    replace(last, resume={**last.resume, "history": rows}).save(folder / "last.pt")
    result = train(run[0] / "d", "-o", folder, "--resume")
    assert result.exit_code == 1
    assert "started by an older emotion-edge, which chose the epoch by labels" in result.stderr


def test_faces_without_usable_votes_count_by_their_label(tmp_path: Path) -> None:
    rows = ["a.png,0,10,0,0,0", "b.png,0,0,0,9,1", "c.png,4,0,0,0,6", "d.png,5,5,0,0,0"]
    (tmp_path / "votes.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    votes = Votes(tmp_path / "votes.csv", CLASSES)
    names = ("a.png", "b.png", "c.png", "d.png", "e.png")
    faces = Faces(np.zeros((5, 4, 4), np.uint8), np.array([0, 1, 2, 0, 1]), names)
    soft = votes.make_soft_labels(faces, 3)
    expected = [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 1, 0]]
    np.testing.assert_allclose(soft.targets, expected)
    assert soft.majority.tolist() == [1, -1, -1, -1, -1]
    assert (soft.listed, soft.fallback) == (4, 3)
    assert votes.count_dropped(faces) == (40, {"contempt": 9, "not_a_face": 7})
    others = Faces(faces.pixels[:1], faces.labels[:1], ("x.png",))
    assert votes.make_soft_labels(others, 3).fallback == 1


def test_two_classes_of_one_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(HEADER + "\n")
    with pytest.raises(DataError, match="classes happy and happiness are both the column"):
        Votes(tmp_path / "votes.csv", ("happy", "happiness"))
    (tmp_path / "votes.csv").write_text(f"{HEADER}\na.png,{'9' * 400},1,1,1,1\n")
    with pytest.raises(DataError, match="row 2: not all votes are numbers"):
        Votes(tmp_path / "votes.csv", CLASSES)


def test_the_caption_of_the_loss_names_its_data() -> None:
    assert describe_train_loss(Recipe(label_smoothing=0.1)) == (
        "train: augmented faces, targets from labels, with label smoothing 0.1"
    )
    mixed = Recipe(label_smoothing=0, vote_weight=0.8, teacher_weight=0.5, augmentation="none")
    assert describe_train_loss(mixed) == "train: plain faces, targets from labels, votes, teacher"


def test_figures_of_older_versions_are_described(run: tuple[Path, Result]) -> None:
    figures = load_checkpoint(run[0] / "run").metrics["test"]
    old = {**figures, "annotators_agree": {"pictures": 8, "accuracy": 0.5, "listed": 8}}
    assert "labels" not in describe_split(old)
