"""Closed and full streams, and signals: one sentence or no output, never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams and signals as POSIX has them")
PICTURE = Path(__file__).parents[2] / "samples" / "happy_01.png"
COMMANDS = ("emotion_runtime", "emotion_runtime.evaluate", "emotion_train", "emotion_export")


def shell(module: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell; its arguments may have redirections."""
    line = f"{shlex.quote(sys.executable)} -m {module} {arguments}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device that is always full."""
    path = tmp_path_factory.mktemp("devices") / "full"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except (OSError, AttributeError):
        pytest.skip("only root can make devices")
    return path


@pytest.mark.parametrize("module", COMMANDS)
def test_help_that_cannot_be_written_is_an_error(module: str, full: Path) -> None:
    for place, reason in ((f"> {full}", "No space left on device"), (">&-", "Bad file descriptor")):
        done = shell(module, f"--help {place}")
        assert done.returncode == 1
        assert done.stderr == f"error: standard output: cannot be written ({reason}).\n"


@pytest.mark.parametrize("option", ["--version", "--describe", "--self-test", "PICTURE", "-f csv "])
def test_results_that_cannot_be_written_are_an_error(option: str, full: Path) -> None:
    what = option.replace("PICTURE", str(PICTURE)).replace("csv ", f"csv {PICTURE}")
    done = shell("emotion_runtime", f"{what} > {full}")
    assert done.returncode == 1
    assert done.stderr == ("error: standard output: cannot be written (No space left on device).\n")


@pytest.mark.slow
def test_streams_that_the_caller_closed_are_reported(tmp_path: Path, full: Path) -> None:
    for arguments, code, message in [
        (f"{PICTURE} -q >&-", 1, "standard output: cannot be written (Bad file descriptor)"),
        ("- -q <&-", 1, "standard input: cannot be read (Bad file descriptor)"),
        (f"{PICTURE} 2>&-", 0, None),
        ("none.png 2>&-", 1, None),
        (f"none.png 2> {full}", 1, None),
        ("--nonsense 2>&-", 2, None),
        (f"{PICTURE} -q -f csv -o {tmp_path}/a.csv <&- >&- 2>&-", 0, None),
    ]:
        done = shell("emotion_runtime", arguments)
        assert done.returncode == code, arguments
        assert done.stderr == ("" if message is None else f"error: {message}.\n")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a run that waits for paths, with the signals of a terminal also under nohup."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "emotion_runtime", "-", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGHUP, hang_up)


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGTERM, 143, b"error: terminated.\n"),
        (signal.SIGHUP, 129, b"error: terminated.\n"),
        (signal.SIGINT, 130, b"error: interrupted.\n"),
    ],
)
def test_a_signal_leaves_no_temporary_file(
    tmp_path: Path, number: signal.Signals, code: int, message: bytes
) -> None:
    with start("-f", "csv", "-o", tmp_path / "a.csv") as process:
        assert process.stderr is not None
        for _ in range(600):
            if list(tmp_path.iterdir()):  # the temporary file
                break
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        assert process.stderr.read() == message
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_during_imports_gives_one_sentence(tmp_path: Path) -> None:
    """numpy would turn an exception during its import into an ImportError."""
    (tmp_path / "numpy.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    [None for _ in range(1000)]\n"
        "except KeyboardInterrupt:\n    raise ImportError('initialization failed')\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "emotion_runtime", str(PICTURE)],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (130, b"error: interrupted.\n")


def test_describe_is_valid_json_also_with_control_characters(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from synthetic import band_model

    training = {"note": "\x1b[31m\x9b2J\x7f\u202e\U000e0041"}
    model = band_model(tmp_path / "m.onnx", metadata={"training": json.dumps(training)})
    done = shell("emotion_runtime", f"--describe -m {model}")
    assert json.loads(done.stdout)["training"] == training
    assert done.stdout.replace("\n", "").isprintable()
    assert "\\u009b" in done.stdout
