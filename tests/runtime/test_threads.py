"""A command starts no thread that it does not need, and keeps to the CPUs that it may use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_runtime.cpus import limit_blas_threads

SAMPLES = Path(__file__).parents[2] / "samples"
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS")

# Runs the command, then prints its threads and their CPU limit on standard error.
PROBE = """
import atexit, os, sys

def report():
    with open("/proc/self/status") as file:
        threads = next(line.split()[1] for line in file if line.startswith("Threads:"))
    print("threads", threads, os.environ.get("OPENBLAS_NUM_THREADS"), file=sys.stderr)

atexit.register(report)
from emotion_runtime.__main__ import run
run()
"""


def run_probe(*arguments: object, code: str = PROBE, **variables: str) -> tuple[str, str]:
    """Run Python code on arguments; return what it wrote to standard output and error."""
    # coverage starts a thread of its own.
    unwanted = {k for k in os.environ if k in VARIABLES or k.startswith("COVERAGE_")}
    environment = {k: v for k, v in os.environ.items() if k not in unwanted}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout, done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_one_picture_needs_one_thread(model_file: Path) -> None:
    _, stderr = run_probe("-q", "-m", model_file, SAMPLES / "happy_01.png")
    assert "threads 1 1" in stderr
    _, stderr = run_probe(
        "-q", "-m", model_file, SAMPLES / "happy_01.png", OPENBLAS_NUM_THREADS="2"
    )
    assert stderr.rstrip().endswith(" 2"), "the user's number is kept"


@pytest.mark.parametrize("name", VARIABLES)
def test_the_threads_of_blas_are_limited_unless_the_user_has_set_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in VARIABLES:
        # Set first, so that the value which the function writes is removed after the test.
        monkeypatch.setenv(one, "")
        monkeypatch.delenv(one)
    monkeypatch.setenv(name, "3")
    limit_blas_threads()
    assert {one: os.environ.get(one) for one in VARIABLES if one != name} == {
        one: None for one in VARIABLES if one != name
    }
    monkeypatch.delenv(name)
    limit_blas_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU sets")
def test_a_pinned_process_with_low_priority_uses_one_worker_and_gives_the_same_results(
    model_file: Path,
) -> None:
    """As under ``nice taskset --cpu-list 0``."""
    pin = (
        "import os, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "os.nice(5)\n"
        "from emotion_runtime.cpus import count_usable_cpus\n"
        "print('CPUs', count_usable_cpus(), file=sys.stderr)\n"
    )
    pictures = sorted(SAMPLES.glob("*_01.png"))
    arguments = ("-q", "-f", "jsonl", "-m", model_file, *pictures)
    pinned, stderr = run_probe(*arguments, code=pin + PROBE)
    assert "CPUs 1" in stderr
    assert "threads 1 " in stderr, "one worker is the main thread itself"
    free, _ = run_probe(*arguments)
    assert pinned == free
    assert len(pinned.splitlines()) == len(pictures) > 1
    assert all(json.loads(line)["error"] is None for line in pinned.splitlines())


@pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset")
def test_taskset_limits_the_workers() -> None:
    code = "from emotion_runtime.cpus import count_usable_cpus; print(count_usable_cpus())"
    cpu = min(os.sched_getaffinity(0))
    command = ["taskset", "--cpu-list", str(cpu), sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "1"
