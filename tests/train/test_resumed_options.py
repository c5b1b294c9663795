"""A resumed run keeps its options and data; changed ones are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import emotion_train.cli as command
from emotion_runtime.digest import compute_sha256
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.checkpoints.transfer import hash_weights
from emotion_train.networks import build_network
from emotion_train.run_record import read_record
from emotion_train.training import precision
from synthetic import CLASSES, write_data

Train = Callable[..., Result]


def write_start(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    weights = build_network("edge", 3).state_dict()
    Checkpoint("edge", CLASSES, weights, training={"epochs": seed}).save(path)
    return path


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, votes, a teacher, two checkpoints, and a run stopped after one epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    data = write_data(folder / "d", (8, 8, 8), 2)
    rows = [f"{s}/happy/{n:03}.png,9,0,0" for s in ("train", "test") for n in range(8)]
    (folder / "votes.csv").write_text("\n".join(["path,happy,sad,surprise", *rows]) + "\n")
    options: list[object] = ["--votes", folder / "votes.csv", "--vote-weight", "0.5"]
    options += ["--teacher", write_start(folder / "teacher.pt", 3), "--coverage", "0.9"]
    for seed in (1, 2):
        options += ["--start-from", write_start(folder / f"start{seed}.pt", seed)]
    options += ["--epochs", "2", "--network", "edge", "--validation", "3", "--no-test"]
    told: list[str] = []

    def stop(message: str) -> None:
        told.append(message)
        if message.startswith("epoch   1/"):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "say", stop)
        arguments = [data, "-o", folder / "run", "--augmentation", "none", *options]
        result = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    assert result.exit_code == 130, result.output
    assert "continue with" in told[-1]
    return folder


@pytest.fixture
def begun(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed; its inputs are those of `interrupted`."""
    shutil.copytree(interrupted / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.slow
def test_the_options_of_the_run_are_restored(interrupted: Path, begun: Path, train: Train) -> None:
    moved = begun.parent / "moved"
    shutil.copytree(interrupted / "d", moved)
    result = train(moved, "-o", begun, "--resume")
    assert result.exit_code == 0, result.output
    assert "resuming after epoch 1" in result.stderr
    assert "the same pictures, read from" in result.stderr
    best = load_checkpoint(begun)
    assert "test" not in best.metrics  # --no-test
    assert best.training["recipe"]["teacher_weight"] == 0.5
    parents = best.training["started_from"]
    expected = [hash_weights(load_checkpoint(interrupted / f"start{n}.pt").weights) for n in (1, 2)]
    assert [parent["weights"] for parent in parents] == expected
    assert [parent["epochs"] for parent in parents] == [1, 2]
    assert best.training["teachers_sha256"] == [compute_sha256(interrupted / "teacher.pt")]
    assert best.training["votes_sha256"] == compute_sha256(interrupted / "votes.csv")
    record = json.loads((begun / "run.json").read_text())
    assert record["options"]["coverage"] == 0.9
    assert record["options"]["votes"]["name"] == str(interrupted / "votes.csv")
    assert record["data"] == str(moved)
    again = train(moved, "-o", begun, "--resume")
    assert again.exit_code == 0
    assert "all epochs are done: only the report is written again" in again.stderr
    more = train(moved, "-o", begun, "--resume", "--epochs", "4")
    assert more.exit_code == 0, more.output
    assert "4 epochs instead of 2 since epoch 2" in more.stderr


def test_the_old_name_of_the_coverage_in_run_json_is_read(begun: Path) -> None:
    path = begun / "run.json"
    record = json.loads(path.read_text())
    record["options"]["answered"] = record["options"].pop("coverage")
    path.write_text(json.dumps(record))
    options = read_record(begun).options
    assert options is not None
    assert options.coverage == 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--coverage", "0.8"), "has --coverage 0.9; leave it out"),
        (("--votes", "other.csv"), "has another --votes"),
        (("--teacher", "start1.pt"), "has another --teacher"),
        (("--start-from", "start2.pt"), "has another --start-from"),
    ],
)
def test_a_changed_option_is_refused(
    interrupted: Path, begun: Path, train: Train, options: tuple[str, str], message: str
) -> None:
    (interrupted / "other.csv").write_text("path,happy,sad,surprise\ntrain/happy/000.png,1,0,0\n")
    flag, value = options
    given = interrupted / value if "." in value and flag != "--coverage" else value
    result = train(interrupted / "d", "-o", begun, "--resume", flag, given)
    assert result.exit_code == 2
    assert message in result.stderr


def test_no_test_cannot_be_added(interrupted: Path, begun: Path, train: Train) -> None:
    values = json.loads((begun / "run.json").read_text())
    values["options"]["with_test"] = True
    (begun / "run.json").write_text(json.dumps(values))
    result = train(interrupted / "d", "-o", begun, "--resume", "--no-test")
    assert result.exit_code == 2
    assert "started without --no-test" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: (data / "train" / "sad" / "000.png").unlink(), "training data, votes or"),
        (lambda data: (data / "test" / "sad" / "000.png").unlink(), "test pictures have changed"),
    ],
)
def test_other_pictures_are_refused(
    interrupted: Path,
    begun: Path,
    train: Train,
    change: Callable[[Path], None],
    message: str,
) -> None:
    moved = begun.parent / "moved"
    shutil.copytree(interrupted / "d", moved)
    change(moved)
    result = train(moved, "-o", begun, "--resume")
    assert result.exit_code == 1
    assert message in result.stderr


def test_another_precision_is_refused(interrupted: Path, begun: Path, train: Train) -> None:
    values = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps({**values, "precision": "fp16"}))
    result = train(interrupted / "d", "-o", begun, "--resume")
    assert result.exit_code == 1
    assert "started in fp16, and this machine would continue in " in result.stderr


def test_a_run_begun_in_fp32_goes_on_in_fp32(
    interrupted: Path, begun: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps({**values, "precision": "fp32"}))
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: True)  # auto is bf16 here
    result = train(interrupted / "d", "-o", begun, "--resume")
    assert result.exit_code == 0, result.output
    assert "fp32 arithmetic" in result.stderr


def test_a_changed_start_is_refused_before_the_first_epoch_is_done(
    interrupted: Path, begun: Path, train: Train
) -> None:
    (begun / "last.pt").unlink()
    values = json.loads((begun / "run.json").read_text())
    values["options"]["start_from"][0]["sha256"] = "00" * 32
    (begun / "run.json").write_text(json.dumps(values))
    result = train(interrupted / "d", "-o", begun, "--resume")
    assert result.exit_code == 1
    assert "the content of --start-from has changed" in result.stderr


def test_the_error_on_an_older_run_json_names_the_missing_option(
    interrupted: Path, begun: Path, train: Train
) -> None:
    values = json.loads((begun / "run.json").read_text())
    kept = {name: values[name] for name in ("data", "recipe", "held_out_draw")}
    (begun / "run.json").write_text(json.dumps(kept))
    result = train(interrupted / "d", "-o", begun, "--resume")
    assert result.exit_code == 1
    assert "of an older emotion-edge, which did not record --votes" in result.stderr
    assert "name their file with --votes" in result.stderr


def test_a_run_of_the_older_draw_is_refused(interrupted: Path, begun: Path, train: Train) -> None:
    values = json.loads((begun / "run.json").read_text())
    del values["held_out_draw"]
    (begun / "run.json").write_text(json.dumps(values))
    result = train(interrupted / "d", "-o", begun, "--resume")
    assert result.exit_code == 1
    assert "started by an older emotion-edge, which drew other held-out pictures" in result.stderr


def test_a_refused_run_replaces_nothing(
    interrupted: Path, begun: Path, train: Train, tmp_path: Path
) -> None:
    before = (begun / "last.pt").read_bytes()
    result = train(interrupted / "nowhere", "-o", begun, "--overwrite")
    assert result.exit_code == 1
    assert (begun / "last.pt").read_bytes() == before
    assert train(interrupted / "nowhere", "-o", tmp_path / "new").exit_code == 1
    assert not (tmp_path / "new").exists()
