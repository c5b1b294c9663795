"""Runs workers, watches over them, and keeps what they find."""

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

BLOCKED_SECONDS = 120.0  # of waiting for one input: a pipe, a lock
KEPT = 3  # inputs of a kind of finding


@dataclass
class Totals:
    """What fuzzing one target came to.

    Attributes:
        inputs: That were read.
        seconds: That it took.
        findings: How often each kind was found.
        kept: A file for each of the first of a kind, with what happened.
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
    """Read the next inputs of a target; a worker that crashes is followed by another.

    Args:
        name: Of the target.
        seed: The same seed gives the same inputs.
        folder: Where inputs are kept that were found to do harm.
        totals: Of this target; inputs go on where they left off.
        count: How many inputs to read.
        seconds: How long.
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
            "TMPDIR": scratch,  # what a killed worker leaves goes with it
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
            said = json.loads(line)
            reached = said.get("next", reached)
            if "number" in said:
                _keep(name, seed, said["number"], folder, totals, said["kind"], said["text"])
        if worker.returncode == 0:
            totals.inputs = reached
            return
        if not position.exists():
            raise RuntimeError(
                f"the worker for {name} does not start: python -m fuzz.worker {name}"
            )
        number = int.from_bytes(position.read_bytes(), "little")
        kind = "blocked" if blocked else _ending(worker.returncode)
        _keep(name, seed, number, folder, totals, kind, f"the worker ended: {kind}")
        totals.inputs = number + 1


def _wait(worker: subprocess.Popen[bytes], position: Path) -> bool:
    """Wait for a worker; end it where one input takes for ever."""
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


def _ending(status: int) -> str:
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
