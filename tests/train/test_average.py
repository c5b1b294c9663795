"""The mean of runs: averaged weights, new figures, and a record of the runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from emotion_train.average import main
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.checkpoints.transfer import hash_weights
from emotion_train.data.dataset import load_dataset
from emotion_train.data.held_out_draw import BY_NAME
from emotion_train.networks import build_network
from emotion_train.recipe import Recipe
from emotion_train.run_record import find_votes
from synthetic import CLASSES, write_data

Average = Callable[..., Result]
RECIPE = Recipe(network="edge", validation_per_class=5, epochs=7)


@pytest.fixture(scope="module")
def average() -> Average:
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("average") / "d", (9, 9, 9), 2)


def write_run(folder: Path, data: Path, seed: int, parent: str | None, **recipe: object) -> Path:
    """Write the folder of a run of some epochs with random weights."""
    torch.manual_seed(seed)
    chosen = {**RECIPE.to_dict(), **recipe}
    digest = load_dataset(data, validation_per_class=5).digest()
    training = {
        "recipe": chosen,
        "seed": 0,
        "epoch": 6,
        "epochs": 7,
        "data_digest": digest,
        "held_out_draw": BY_NAME,
        "started_from": [{"weights": parent, "ancestors": []}] if parent else None,
    }
    folder.mkdir(parents=True)
    weights = build_network("edge", 3).state_dict()
    Checkpoint("edge", CLASSES, weights, training=training).save(folder / "best.pt")
    (folder / "run.json").write_text(json.dumps({"data": str(data)}))
    return folder


@pytest.mark.slow
def test_an_average_is_a_run_with_its_lineage(average: Average, data: Path, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, data, n, "ab" * 32) for n, name in enumerate("abc")]
    result = average(*runs, "-o", tmp_path / "mean")
    assert result.exit_code == 0, result.output
    assert "warning: nothing in the checkpoints" not in result.stderr
    assert (
        result.stdout.count("on 15 held-out faces, by the labels of the data") == 4
    )  # three runs and their mean
    parents, mean = [load_checkpoint(run) for run in runs], load_checkpoint(tmp_path / "mean")
    for name, value in mean.weights.items():
        if "running" in name or "tracked" in name:
            continue  # the statistics of batch normalisation are recomputed
        expected = torch.stack([one.weights[name].float() for one in parents]).mean(0)
        assert torch.allclose(value.float(), expected, atol=1e-6), name
    told = mean.training["averaged_from"]
    assert [one["weights"] for one in told] == [hash_weights(one.weights) for one in parents]
    assert all(one["recipe"]["epochs"] == 7 and one["epoch"] == 6 for one in told)
    assert mean.training["epochs"] == 0
    assert "learning_rate" not in mean.training["recipe"]
    assert mean.metrics["test"]["pictures"] == 6
    assert "the mean of 3 runs" in (tmp_path / "mean" / "report" / "report.md").read_text()
    again = CliRunner().invoke(_train(), [str(data), "-o", str(tmp_path / "mean"), "--resume"])
    assert again.exit_code == 1
    assert "an average of runs has no epoch to resume after" in again.stderr


def _train() -> object:
    from emotion_train.cli import main as train

    return train


def test_statistics_are_computed_from_the_training_faces(data: Path) -> None:
    from emotion_train.average import _recompute_statistics

    torch.manual_seed(0)
    network = build_network("edge", 3)
    weights = {
        name: value * 0 + 7 if "running" in name else value
        for name, value in network.state_dict().items()
    }
    dataset = load_dataset(data, validation_per_class=5)
    fresh = _recompute_statistics(Checkpoint("edge", CLASSES, weights), dataset, "none").build()
    network.load_state_dict(weights)
    norm = next(m for m in fresh.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fresh(torch.from_numpy(dataset.train.pixels[:, np.newaxis]))
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, seen[0].mean(dim=(0, 2, 3)), atol=1e-4)


def test_runs_that_cannot_be_averaged_are_refused(
    average: Average, data: Path, tmp_path: Path
) -> None:
    first = write_run(tmp_path / "a", data, 0, "ab" * 32)
    other = write_run(tmp_path / "b", data, 1, "ab" * 32, holdout=0.2)
    for arguments, code, message in (
        ((first,), 2, "needs two runs or more"),
        ((first, other), 1, "would know faces that the other holds out"),
        ((first, tmp_path / "gone"), 1, "no such checkpoint"),
    ):
        result = average(*arguments, "-o", tmp_path / "mean")
        assert result.exit_code == code, result.output
        assert message in result.stderr
    result = average(first, other, "-o", first, "--overwrite")
    assert result.exit_code == 2
    assert "is read by this run" in result.stderr
    elsewhere = write_data(tmp_path / "other", (9, 9, 8), 2)
    result = average(first, first, "-o", tmp_path / "mean", "--data", elsewhere)
    assert result.exit_code == 1
    assert "was trained on other pictures" in result.stderr
    assert not (tmp_path / "mean").exists()


def test_an_average_has_the_balance_of_its_runs(average: Average, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 8, 8), 0)
    for balance, copies in (("none", "0       0         0"), ("full", "0       4         4")):
        runs = [
            write_run(tmp_path / balance / name, data, n, "ab" * 32, balance=balance)
            for n, name in enumerate("ab")
        ]
        result = average(*runs, "-o", tmp_path / balance / "mean")
        assert result.exit_code == 0, result.output
        text = (tmp_path / balance / "mean" / "report" / "report.md").read_text()
        assert f"copies          {copies}" in text


def test_runs_from_other_starting_weights_cause_a_warning(data: Path, tmp_path: Path) -> None:
    from emotion_train.average import _have_common_start

    a, b, c = (
        load_checkpoint(write_run(tmp_path / name, data, n, parent))
        for n, (name, parent) in enumerate((("a", "ab" * 32), ("b", "cd" * 32), ("c", "ab" * 32)))
    )
    assert _have_common_start([a, c])
    assert not _have_common_start([a, b, c])


def test_the_mean_of_runs_trained_on_votes_is_evaluated_on_votes(
    average: Average, data: Path, tmp_path: Path
) -> None:
    runs = [write_run(tmp_path / name, data, 0, "ab" * 32, vote_weight=0.5) for name in "ab"]
    without = average(*runs, "-o", tmp_path / "m", "--no-test")
    assert without.exit_code == 0, without.output
    assert "taught by votes, and no --votes are named" in without.stderr
    assert load_checkpoint(tmp_path / "m").metrics["judged_by"] == "labels"
    text = (tmp_path / "m" / "report" / "report.md").read_text()
    assert "taught by votes, and no --votes are named" in text
    rows = [f"train/happy/{n:03}.png,9,0,0" for n in range(9)]
    (tmp_path / "votes.csv").write_text("\n".join(["path,happy,sad,surprise", *rows]) + "\n")
    judged = average(*runs, "-o", tmp_path / "n", "--no-test", "--votes", tmp_path / "votes.csv")
    assert judged.exit_code == 0, judged.output
    assert load_checkpoint(tmp_path / "n").metrics["judged_by"] == "votes"
    # emotion-export --labels finds them there.
    assert find_votes(tmp_path / "n") == tmp_path / "votes.csv"
    assert judged.stdout.splitlines()[-1].startswith("validation: annotators' majority: ")
