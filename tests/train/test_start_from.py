"""Training from released weights for other classes, with lower layers frozen or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

import emotion_models
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.errors import RunError
from emotion_train.networks import build_network
from emotion_train.training.freezing import FrozenLayers
from synthetic import write_data

Train = Callable[..., Result]
SHORT = ("--epochs", "1", "--augmentation", "none", "--batch-size", "8")


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["features", "none"])
def test_a_released_network_is_trained_for_other_classes(
    train: Train, tmp_path: Path, freeze: str
) -> None:
    data = write_data(tmp_path / "d", (10, 10), 2, ("bored", "sad"))
    options = ("--start-from", "edge", "--freeze", freeze)
    result = train(data, "-o", tmp_path / "run", *SHORT, *options)
    assert result.exit_code == 0, result.output
    assert "start from edge: carried over: 5 convolutions and 1 linear layer, and of the last" in (
        result.stderr
    )
    assert "the rows of sad; fresh: the last layer (body.22) of bored" in result.stderr
    released = load_checkpoint(emotion_models.checkpoint_path("edge"))
    best = load_checkpoint(tmp_path / "run")
    assert best.network == "edge"  # without --network
    assert best.training["recipe"]["freeze"] == freeze
    same = (
        {name for name, value in released.weights.items() if torch.equal(value, best.weights[name])}
        if freeze == "features"
        else set()
    )
    if freeze == "features":
        assert "of them trained (the first 5 of 7 layers are frozen)" in result.stderr
        assert {"body.1.running_mean", "body.0.weight", "body.15.running_var"} <= same
        assert not {name for name in same if name.startswith(("body.19", "body.22"))}
    else:
        assert not torch.equal(released.weights["body.0.weight"], best.weights["body.0.weight"])
    again = train(data, "-o", tmp_path / "run", "--resume")
    assert again.exit_code == 0, again.output
    other = train(data, "-o", tmp_path / "run", "--resume", "--freeze", "2")
    assert other.exit_code == 2
    assert f"has freeze {freeze}, not 2" in other.stderr


def test_a_model_file_cannot_be_a_start(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (6, 6, 6), 0)
    result = train(data, "-o", tmp_path / "run", "--start-from", "edge-int8")
    assert result.exit_code == 1
    assert "baseline, edge can be started from" in result.stderr
    result = train(data, "-o", tmp_path / "run", "--start-from", "edge", "--network", "baseline")
    assert result.exit_code == 2
    assert "is of the network edge" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_number_of_layers_is_frozen_with_their_normalisation() -> None:
    network = build_network("edge", 3)
    frozen = FrozenLayers(network, "2")
    network.train()
    frozen.set_eval_mode()
    assert [not p.requires_grad for p in network.parameters()] == [True] * 6 + [False] * 13
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [norm.training for norm in norms] == [False, False, True, True, True]
    assert FrozenLayers(build_network("baseline", 3), "features").count == 6
    with pytest.raises(RunError, match="has 7 layers, of which the last must be trained"):
        FrozenLayers(build_network("edge", 3), "7")
