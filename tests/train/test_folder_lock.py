"""Two processes do not write the same run folder or audit at the same time."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emotion_train import folder_lock
from emotion_train.audit.cli import main as audit_main
from emotion_train.audit.job import AuditFolder
from emotion_train.average import main as average_main
from emotion_train.run_folder import RunFolder
from emotion_train.training import rate_finder
from synthetic import write_data

Train = Callable[..., Result]
OPTIONS = ("--network", "edge", "--epochs", "1", "--validation", "5", "--no-test")
REFUSAL = (
    "another emotion-train is training in this folder; wait for it to end, or choose another "
    "folder with -o."
)
HOLD = """
import sys
from pathlib import Path
from emotion_train.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("lock") / "data", (12, 12, 12), 2)


def test_a_second_training_is_refused_and_changes_nothing(
    train: Train, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "a"
    with RunFolder(folder).lock():
        # Before the first run has written anything.
        result = train(data, *OPTIONS, "-o", folder)
        assert (result.exit_code, result.stderr) == (1, f"error: {folder}: {REFUSAL}\n")
    assert not (tmp_path / "runs").exists()
    assert train(data, *OPTIONS, "-o", folder).exit_code == 0
    complete = {"run.json", "best.pt", "last.pt", "history.csv", "report"}
    assert names(folder) == complete
    with RunFolder(folder).lock():
        before = read_files(folder)
        for option in ("--resume", "--overwrite", "--find-learning-rate"):
            result = train(data, *([] if option == "--resume" else OPTIONS), option, "-o", folder)
            assert (result.exit_code, result.output.splitlines()[-1]) == (
                1,
                f"error: {folder}: {REFUSAL}",
            )
            assert read_files(folder) == before
    assert train(data, "--resume", "-o", folder).exit_code == 0
    assert names(folder) == complete


def test_the_lock_is_held_until_the_report_is_written(
    train: Train, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_train.report.run_report import RunReport

    folder, write, second = tmp_path / "a", RunReport.write, []

    def resume_beside(report: RunReport, path: Path) -> object:
        monkeypatch.setattr(RunReport, "write", write)
        second.append(train(data, "--resume", "-o", folder))
        return write(report, path)

    monkeypatch.setattr(RunReport, "write", resume_beside)
    assert train(data, *OPTIONS, "-o", folder).exit_code == 0
    assert [one.exit_code for one in second] == [1]
    assert REFUSAL in second[0].stderr


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_the_lock_of_a_killed_process_is_no_obstacle(
    train: Train, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        result = train(data, *OPTIONS, "-o", folder)
        process.kill()
    assert (result.exit_code, result.stderr) == (1, f"error: {folder}: {REFUSAL}\n")
    assert names(folder) == {folder_lock.LOCK_FILE}
    # Neither locked nor "not empty".
    assert train(data, *OPTIONS, "-o", folder).exit_code == 0
    assert folder_lock.LOCK_FILE not in names(folder)


def test_a_file_system_without_locks(
    train: Train, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock, "lock_exclusively", fail)
    assert train(data, *OPTIONS, "-o", tmp_path / "a").exit_code == 0
    assert folder_lock.LOCK_FILE not in names(tmp_path / "a")


def test_a_lock_file_of_someone_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / folder_lock.LOCK_FILE).write_text("1234\n")
    with RunFolder(tmp_path).lock():
        pass
    assert (tmp_path / folder_lock.LOCK_FILE).read_text() == "1234\n"


def test_two_range_tests(
    train: Train, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_finder, "MIN_STEPS", 60)
    options = (data, *OPTIONS, "--find-learning-rate", "-o", tmp_path / "rates")
    with RunFolder(tmp_path / "rates").lock():
        result = train(*options)
    assert result.exit_code == 1
    assert REFUSAL in result.stderr
    assert not (tmp_path / "rates").exists()


def test_an_average_beside_a_training(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "best.pt").write_bytes(b"weights")
    command = [*map(str, (tmp_path / "a", tmp_path / "b", "--data", data, "-o", out))]
    with RunFolder(out).lock():
        result = CliRunner().invoke(average_main, [*command, "--overwrite"])
    assert (result.exit_code, result.stderr) == (1, f"error: {out}: {REFUSAL}\n")
    assert (out / "best.pt").read_bytes() == b"weights"


def test_an_audit_begins_where_a_killed_one_left_its_lock(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    command = [str(data), "-o", str(folder), "--folds", "2", "--epochs", "1"]
    with AuditFolder(folder).lock():
        refused = CliRunner().invoke(audit_main, command)
    assert refused.exit_code == 1
    assert f"{folder}: another emotion-audit is writing it" in refused.stderr
    assert not folder.exists()
    folder.mkdir()
    (folder / folder_lock.LOCK_FILE).touch()
    result = CliRunner().invoke(audit_main, command)
    assert result.exit_code == 0, result.output
    assert folder_lock.LOCK_FILE not in names(folder)
