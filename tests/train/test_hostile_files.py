"""Untrusted checkpoints, run.json and teachers: one sentence each, with limited memory."""

from __future__ import annotations

import io
import json
import os
import resource
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from emotion_train.checkpoints.checkpoint import FORMAT, VERSION, Checkpoint, load_checkpoint
from emotion_train.checkpoints.transfer import average_weights, transfer_weights
from emotion_train.errors import CheckpointError, RunError
from emotion_train.networks import build_network
from emotion_train.recipe import Recipe
from emotion_train.run_record import RunOptions, RunRecord, read_record
from synthetic import CLASSES, write_data

Train = Callable[..., Result]


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_network("edge", 3).state_dict()


def make_shared_list(depth: int) -> list[Any]:
    """Return a list of shared parts: small in a file, 2**depth parts when written as JSON."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value, value]
    return value


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


BAD_PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "a list where the network's name belongs": ({"network": ["edge"]}, "of the network a list"),
    "a version that is a list": ({"version": [1]}, "of version a list"),
    "a version that is none": ({"version": None}, "of version None"),
    "labels that are none": ({"labels": None}, "its labels are no list"),
    "labels that are numbers": ({"labels": [1, 2, 3]}, "not text"),
    "labels without end": ({"labels": [str(n) for n in range(100_000)]}, "100,000 labels"),
    "labels that are paths": ({"labels": ["../../x", "b", "c"]}, "a path separator"),
    "labels that are reserved": ({"labels": ["path", "b", "c"]}, "reserved"),
    "an unknown part": ({"surprise": 1}, "unknown part"),
    "average faces that are none": ({"average_faces": None}, "its average_faces"),
    "average faces of another size": (
        {"average_faces": torch.zeros(2, 1, 3, 3, dtype=torch.uint8)},
        "no pictures of 48×48",
    ),
    "a few bytes that claim to be terabytes": (
        {"average_faces": torch.zeros(1, 1, 48, 48, dtype=torch.uint8).expand(10**9, 1, 48, 48)},
        "larger than its data",
    ),
    "a probe of another size": ({"probe": torch.zeros(5, 5, dtype=torch.uint8)}, "its probe"),
    "a sparse tensor": ({"probe": torch.zeros(2, 2).to_sparse()}, "refused, nothing was run"),
    "a size that is too large": ({"size": 10**6}, "its size"),
    "a temperature that is no number": ({"temperature": float("nan")}, "its temperature"),
    "a temperature of 0": ({"temperature": 0.0}, "its temperature"),
    "a confidence that is text": ({"min_confidence": "high"}, "its min_confidence"),
    "weights that are a list": ({"weights": [1, 2]}, "not tensors by name"),
    "metrics that are a list": ({"metrics": [1]}, "its metrics are no dictionary"),
    "metrics with NaN": ({"metrics": {"a": float("inf")}}, "not finite"),
    "metrics that double and double": (
        {"metrics": {"a": make_shared_list(60)}},
        "larger or deeper",
    ),
    "training nested deep": ({"training": {"a": deep(300)}}, "larger or deeper"),
    "training with tensors": ({"training": {"a": torch.zeros(1)}}, "more than text and numbers"),
    "multiply-adds that are text": ({"multiply_adds": "many"}, "its multiply_adds"),
    "a state that is a list": ({"resume": [1]}, "its resume"),
}


@pytest.mark.parametrize("name", BAD_PARTS)
def test_the_error_names_the_part_of_the_wrong_kind(
    tmp_path: Path, weights: dict[str, torch.Tensor], name: str
) -> None:
    parts, message = BAD_PARTS[name]
    values = {"format": FORMAT, "version": VERSION, "network": "edge", "labels": list(CLASSES)}
    torch.save({**values, "weights": weights, **parts}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / "bad.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.pt'}: ")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_weights_that_are_not_finite_or_do_not_fit_are_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    name = next(name for name, value in weights.items() if value.is_floating_point())
    Checkpoint("edge", CLASSES, {**weights, name: weights[name] * float("nan")}).save(
        tmp_path / "nan.pt"
    )
    with pytest.raises(CheckpointError, match="not all finite"):
        load_checkpoint(tmp_path / "nan.pt")
    bent = Checkpoint("edge", CLASSES, {**weights, name: torch.zeros(7)})
    with pytest.raises(CheckpointError, match="do not fit the network"):
        bent.build()
    with pytest.raises(RunError, match="of shape"):
        transfer_weights(bent, build_network("edge", 3), CLASSES)
    with pytest.raises(RunError, match="one form of their network"):
        average_weights([Checkpoint("edge", CLASSES, weights), bent])


def test_one_changed_weight_is_detected(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    Checkpoint("edge", CLASSES, weights).save(tmp_path / "whole.pt")
    data = bytearray((tmp_path / "whole.pt").read_bytes())
    largest = max(weights.values(), key=torch.numel)
    place = data.index(largest.contiguous().numpy().tobytes()[:64])
    data[place + 5] ^= 1
    (tmp_path / "bent.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum in it does not hold"):
        load_checkpoint(tmp_path / "bent.pt")


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, data in entries.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def test_containers_that_expand_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    files = {
        "bomb.pt": (
            archive({"a/data.pkl": b".", "a/data/0": bytes(50 << 20)}, zipfile.ZIP_DEFLATED),
            "compressed data",
        ),
        "structure.pt": (archive({"a/data.pkl": bytes(5 << 20)}), "beside its tensors"),
        "two.pt": (archive({"a/data.pkl": b".", "b/data.pkl": b"."}), "damaged"),
        "case.pt": (archive({"a/data.pkl": b".", "A/DATA.pkl": b"."}), "damaged"),
        "comment.pt": (archive({"a/data.pkl": b"N."}) + b"more", "damaged"),
        "before.pt": (b"more" + archive({"a/data.pkl": b"N."}), "damaged"),
        "bytearray.pt": (
            archive({"a/data.pkl": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."}),
            "could run code; refused",
        ),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path / name)
    with (tmp_path / "huge.pt").open("wb") as file:
        file.truncate(3 << 30)  # sparse: it takes no space on the disk
    with pytest.raises(CheckpointError, match=r"3\.0 GiB; a checkpoint has at most 1 GiB"):
        load_checkpoint(tmp_path / "huge.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize("flag", ["--start-from", "--teacher", "--votes"])
def test_a_pipe_is_refused_without_waiting(train: Train, tmp_path: Path, flag: str) -> None:
    pipe = tmp_path / "pipe.pt"
    os.mkfifo(pipe)
    data = write_data(tmp_path / "d", (6, 6, 6), 0)
    weight = {"--teacher": ("--teacher-weight", "0.5")}.get(flag, ())
    result = train(data, "-o", tmp_path / "r", "--validation", "2", flag, pipe, *weight)
    assert result.exit_code == 1
    assert "not a regular file" in result.stderr
    assert not (tmp_path / "r").exists()
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_checkpoint(pipe)


def write_record(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    RunRecord("/data", Recipe(), RunOptions()).save(folder)
    values = json.loads((folder / "run.json").read_text())
    values["recipe"].update(changes.pop("recipe", {}))
    (folder / "run.json").write_text(json.dumps({**values, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"epochs": "many"}}, "damaged"),
        ({"recipe": {"epochs": 0}}, "damaged"),
        ({"recipe": {"epochs": True}}, "damaged"),
        ({"recipe": {"learning_rate": float("nan")}}, "damaged"),
        ({"recipe": {"seed": 10**400}}, "damaged"),
        ({"recipe": {"network": ["edge"]}}, "damaged"),
        ({"recipe": {"augmentation": ["strong"]}}, "damaged"),
        ({"recipe": {"classes": "happy"}}, "damaged"),
        ({"recipe": {"classes": ["../x", "y"]}}, "damaged"),
        ({"recipe": {"augmentation_group": 4}}, "another version of emotion-edge"),
        ({"data": 7}, "damaged"),
        ({"options": {"coverage": 10**400}}, "damaged"),
        ({"options": {"coverage": 1.0, "with_test": 1, "votes": None}}, "damaged"),
        ({"options": [1]}, "damaged"),
        ({"tool_versions": [1]}, "damaged"),
        ({"averaged_from": ["x"]}, "an average of runs"),
    ],
)
def test_a_run_json_with_invalid_values_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        read_record(write_record(tmp_path / "run", **changes))


def test_a_run_json_that_is_not_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for content in (b"", b"[" * 100_000, b"\xff", b"7", b"[]", b" " * (2 << 20)):
        path.write_bytes(content)
        with pytest.raises(RunError, match="cannot be resumed"):
            read_record(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="not a regular file"):
        read_record(tmp_path)


@pytest.mark.slow
def test_a_training_state_that_does_not_fit_gives_one_sentence(
    train: Train, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "d", (6, 6, 6), 0)
    run = tmp_path / "r"
    options = ("--validation", "2", "--network", "edge", "--epochs", "2", "--augmentation", "none")
    assert train(data, "-o", run, *options).exit_code == 0
    last = load_checkpoint(run / "last.pt")
    assert last.resume is not None
    for change in (
        {"history": [1]},
        {"history": []},
        {"history": last.resume["history"] * 9},
        {"network": {}},
        {"optimizer": OrderedDict(state=1)},
        {"schedule": None},
    ):
        Checkpoint(**{**last.__dict__, "resume": {**last.resume, **change}}).save(run / "last.pt")
        result = train(data, "-o", run, "--resume")
        assert result.exit_code == 1, change
        assert "does not fit the run" in result.stderr, change
    Checkpoint(**{**last.__dict__, "resume": None}).save(run / "last.pt")
    assert "use last.pt of a run" in train(data, "-o", run, "--resume").stderr
    Checkpoint(**{**last.__dict__, "training": {}}).save(run / "last.pt")
    assert "does not fit the run" in train(data, "-o", run, "--resume").stderr
