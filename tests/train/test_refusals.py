"""A refused training leaves no folder and replaces no file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import emotion_models
from synthetic import write_data

Train = Callable[..., Result]


def test_refused_runs_leave_no_folder(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (50, 50, 50), 2)
    run = tmp_path / "run"
    for arguments in (
        [tmp_path / "none"],
        [data, "--votes", tmp_path / "none.csv"],
        [data, "--start-from", tmp_path / "none.pt"],
        [data, "--teacher", "none"],
        [data, "--validation", "1000"],
    ):
        result = train(*arguments, "-o", run)
        assert result.exit_code == 1, result.output
        assert not run.exists()


@pytest.mark.parametrize("option", ["DATA", "--votes", "--start-from", "--teacher", "--val"])
def test_a_run_does_not_replace_its_inputs(train: Train, tmp_path: Path, option: str) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    data.mkdir()
    (run / "best.pt").write_bytes(b"weights")
    arguments = [run] if option == "DATA" else [data, option, run / "best.pt"]
    result = train(*arguments, "-o", run, "--overwrite")
    assert result.exit_code == 2
    assert "is read by this run" in result.stderr
    assert (run / "best.pt").read_bytes() == b"weights"


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    import resource

    from emotion_runtime.errors import OutputError
    from emotion_train.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(emotion_models.checkpoint_path("edge"))
    (tmp_path / "last.pt").write_bytes(b"earlier")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"last\.pt: cannot be written"):
            checkpoint.save(tmp_path / "last.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "last.pt").read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
