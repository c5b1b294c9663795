from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.errors import CheckpointError
from emotion_train.networks import build_network


def make_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    weights = build_network("baseline", 3).state_dict()
    return Checkpoint("baseline", ("happy", "sad", "surprise"), weights, temperature=1.5)


class Payload:
    """An object of a malicious pickle."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


def test_a_loaded_checkpoint_builds_the_same_network(tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    checkpoint.save(tmp_path / "best.pt")
    for path in (tmp_path / "best.pt", tmp_path):  # the file, or the folder of the run
        read = load_checkpoint(path)
        assert read.labels == checkpoint.labels
        assert read.temperature == 1.5
        pixels = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
        assert torch.equal(read.build()(pixels), checkpoint.build()(pixels))


def test_a_checkpoint_with_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "was_run"
    torch.save({"weights": Payload(trace)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Payload(trace)))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(tmp_path / name)
    assert not trace.exists()
    with pytest.raises(CheckpointError, match="could run code; refused"):
        load_checkpoint(tmp_path / "a.pt")


def test_files_that_are_not_checkpoints_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    make_checkpoint().save(whole)
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:1000])
    torch.save({"a": 1}, tmp_path / "other.pt")
    values = torch.load(whole, weights_only=True)
    torch.save({**values, "version": 99}, tmp_path / "newer.pt")
    torch.save({**values, "network": "vast"}, tmp_path / "foreign.pt")
    torch.save({**values, "labels": ["a", "b"]}, tmp_path / "unfit.pt")
    cases = {
        "gone.pt": "no such checkpoint",
        "empty.pt": "not a checkpoint",
        "text.pt": "not a checkpoint",
        "cut.pt": "not a checkpoint",
        "other.pt": "not a checkpoint of emotion-train",
        "newer.pt": "version 99",
        "foreign.pt": "'vast', unknown here",
    }
    for name, message in cases.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            load_checkpoint(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        load_checkpoint(tmp_path / "unfit.pt").build()


def test_weights_of_another_form_of_the_network_are_refused() -> None:
    weights = build_network("edge", 3).state_dict()
    with pytest.raises(CheckpointError, match="another form"):
        Checkpoint("edge", ("a", "b", "c"), weights, multiply_adds=9_670_000).build()
