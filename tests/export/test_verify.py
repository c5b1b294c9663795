"""``emotion-verify``: a file is compared only with the checkpoint that has its digest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

import emotion_models
import shortcuts
from emotion_export.cli import main as export_command
from emotion_export.verify_cli import main
from emotion_runtime.model.contract import PREFIX
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.checkpoints.transfer import hash_weights

Verify = Callable[..., Result]


@pytest.fixture
def verify() -> Verify:
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "model.onnx"
    with shortcuts.blank_figures(), shortcuts.conversions_once():
        result = CliRunner().invoke(export_command, [str(path), "-c", str(run_dir)])
    assert result.exit_code == 0, result.output
    return path


def other_run(run_dir: Path, folder: Path) -> Path:
    """A run with the same labels and other weights."""
    folder.mkdir(parents=True)
    trained = load_checkpoint(run_dir)
    weights = {name: value * 0.9 for name, value in trained.weights.items()}
    replace(trained, weights=weights).save(folder / "best.pt")
    return folder


def with_parity(model: Path, path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """Return a copy of a model file with changed parity metadata."""
    proto = onnx.load(model)
    for pair in proto.metadata_props:
        if pair.key == f"{PREFIX}parity":
            values = json.loads(pair.value)
            change(values)
            pair.value = json.dumps(values)
    onnx.save(proto, path)
    return path


def test_the_file_records_the_digest_of_its_weights(model: Path, run_dir: Path) -> None:
    report = json.loads(model.with_suffix(".parity.json").read_text())
    assert report["weights_sha256"] == hash_weights(load_checkpoint(run_dir).weights)


def test_the_run_of_a_file_is_found_among_others(
    verify: Verify, model: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_dir, tmp_path / "runs" / "its own")
    os.utime(tmp_path / "runs" / "its own" / "best.pt", (1, 1))
    other_run(run_dir, tmp_path / "runs" / "newer")
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "best.pt").write_bytes(b"no checkpoint")
    result = verify(model)
    assert result.exit_code == 0, result.output
    assert "verified against runs/its own/best.pt: " in result.stdout
    assert "every label agrees" in result.stdout
    assert "skipped: runs/damaged/best.pt" in result.stderr
    assert f"next: emotion-infer {load_data(run_dir)}/test -m {model}" in result.stderr
    quiet = verify(model, "-q")
    assert quiet.stderr == ""


def load_data(run_dir: Path) -> str:
    return str(json.loads((run_dir / "run.json").read_text())["data"])


def test_another_checkpoint_is_refused(
    verify: Verify, model: Path, run_dir: Path, tmp_path: Path
) -> None:
    result = verify(model, "-c", other_run(run_dir, tmp_path / "other"))
    assert result.exit_code == 1
    assert "was exported from other weights" in result.stderr
    assert "verified" not in result.stdout


def test_a_checkpoint_that_is_not_found_is_wrong_usage(
    verify: Verify, model: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other_run(run_dir, tmp_path / "runs" / "other")
    result = verify(model)
    assert result.exit_code == 2
    assert "has its weights" in result.stderr
    assert "--checkpoint" in result.stderr


def test_a_file_of_earlier_versions_needs_a_checkpoint(
    verify: Verify, model: Path, run_dir: Path, tmp_path: Path
) -> None:
    old = with_parity(model, tmp_path / "old.onnx", lambda parity: parity.pop("weights_sha256"))
    assert verify(old).exit_code == 2
    assert "does not record its checkpoint" in verify(old).stderr
    named = verify(old, "-c", run_dir)
    assert named.exit_code == 0, named.output
    assert "warning: " in named.stderr
    # Without a digest, only the comparison can find the difference.
    failed = verify(
        old, "-c", other_run(run_dir, tmp_path / "other"), "--parity-data", load_data(run_dir)
    )
    assert failed.exit_code == 1
    assert "does not compute what PyTorch computes" in failed.stderr


@pytest.mark.slow
def test_a_released_model_is_verified_by_name(verify: Verify) -> None:
    result = verify("edge", "-c", emotion_models.checkpoint_path("edge"))
    assert result.exit_code == 0, result.output
    assert "average faces of the checkpoint" in result.stderr


def test_files_that_are_not_models_are_refused(verify: Verify, tmp_path: Path) -> None:
    assert verify(tmp_path / "gone.onnx").exit_code == 1
    assert "no such model file" in verify(tmp_path / "gone.onnx").stderr
