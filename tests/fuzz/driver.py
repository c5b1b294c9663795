"""Run the workers, limit their time, and save their findings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.worker import load_target

BLOCKED_SECONDS = 120.0  # of waiting for one input, such as for a pipe or a lock
KEPT = 3  # saved inputs of each kind of finding


@dataclass
class Totals:
    """The result of fuzzing one target.

    Attributes:
        inputs: Number of inputs read.
        seconds: Time taken.
        findings: Number of findings of each kind.
        kept: The file of the first findings of each kind, and what happened.
    """

    inputs: int = 0
    seconds: float = 0.0
    findings: dict[str, int] = field(default_factory=dict)
    kept: list[tuple[Path, str]] = field(default_factory=list)


def fuzz(
    name: str,
    *,
    seed: int,
    folder: Path,
    totals: Totals,
    count: int = sys.maxsize,
    seconds: float = 1e9,
) -> None:
    """Read the next inputs of a target; a new worker replaces one that crashes.

    Args:
        name: The name of the target.
        seed: The same seed gives the same inputs.
        folder: The folder of the saved findings.
        totals: The result so far; the inputs continue after it.
        count: Number of inputs to read.
        seconds: Time limit.
    """
    began = time.monotonic()
    end = totals.inputs + count if count < sys.maxsize else count
    while totals.inputs < end and (left := seconds - (time.monotonic() - began)) > 0:
        _run_worker(name, seed, folder, totals, end - totals.inputs, left)
    totals.seconds += time.monotonic() - began


def _run_worker(
    name: str, seed: int, folder: Path, totals: Totals, count: int, seconds: float
) -> None:
    start = totals.inputs
    with tempfile.TemporaryDirectory() as scratch:
        position, output = Path(scratch) / "at", Path(scratch) / "out"
        arguments = [name, seed, start, count, seconds, position]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": scratch,  # removes the files of a killed worker
        }
        with output.open("wb") as stdout:
            worker = subprocess.Popen(
                [sys.executable, "-m", "fuzz.worker", *map(str, arguments)],
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            blocked = _wait(worker, position)
        reached = start
        for line in output.read_text().splitlines():
            if not line.startswith("{"):
                _keep(name, seed, start, folder, totals, "output", f"printed {line[:200]!r}")
                continue
            message = json.loads(line)
            reached = message.get("next", reached)
            if "number" in message:
                _keep(
                    name, seed, message["number"], folder, totals, message["kind"], message["text"]
                )
        if worker.returncode == 0:
            totals.inputs = reached
            return
        if not position.exists():
            raise RuntimeError(
                f"the worker for {name} does not start: python -m fuzz.worker {name}"
            )
        number = int.from_bytes(position.read_bytes(), "little")
        kind = "blocked" if blocked else _describe_exit(worker.returncode)
        _keep(name, seed, number, folder, totals, kind, f"the worker ended: {kind}")
        totals.inputs = number + 1


def _wait(worker: subprocess.Popen[bytes], position: Path) -> bool:
    """Wait for a worker; end it if one input takes too long."""
    last, since = b"", time.monotonic()
    while True:
        try:
            worker.wait(0.2)
            return False
        except subprocess.TimeoutExpired:
            now = position.read_bytes() if position.exists() else b""
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > BLOCKED_SECONDS:
                worker.kill()
                worker.wait()
                return True
        except BaseException:
            worker.kill()
            raise


def _describe_exit(status: int) -> str:
    if status == -signal.SIGXCPU:
        return "never ends"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit {status}"


def _keep(
    name: str, seed: int, number: int, folder: Path, totals: Totals, kind: str, text: str
) -> None:
    totals.findings[kind] = totals.findings.get(kind, 0) + 1
    if totals.findings[kind] > KEPT:
        return
    target = load_target(name)
    data = target.input_of(seed, number, target.seeds())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{seed}-{number}.bin"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{kind}\n{text}\n", encoding="utf-8", errors="replace")
    totals.kept.append((path, f"{kind}: {text.strip().splitlines()[-1]}"))
