"""A process that reads one input after the other and records findings.

It writes the number of each input to a file, so that its parent (`fuzz.driver`) knows the input at
which it crashed.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from fuzz.target import Target

MAX_SECONDS = 5.0  # of CPU time, for one input
MAX_BYTES = 600 << 20  # of memory, for one input
KILL_SECONDS = 20  # of CPU time: the system ends a decoder that never returns
MAX_PIXELS = 16_000_000  # of a picture, for the limit on memory
_ADDRESSES = (
    3 << 30
)  # bytes more than the idle process has: malloc fails before the machine has no memory left

TARGETS = {
    "pictures": ("pictures_target", "TARGET"),
    "models": ("models_target", "MODELS"),
    "contracts": ("models_target", "CONTRACTS"),
    "checkpoints": ("training_target", "CHECKPOINTS"),
    "run-json": ("training_target", "RUN_JSON"),
    "data-csv": ("training_target", "DATA"),
    "votes-csv": ("training_target", "VOTES"),
    "audit-csv": ("training_target", "AUDIT"),
    "partial": ("results_target", "PARTIAL"),
    "videos": ("results_target", "VIDEOS"),
}


def load_target(name: str) -> Target:
    module, attribute = TARGETS[name]
    target: Target = getattr(importlib.import_module(f"fuzz.{module}"), attribute)
    return target


def main(name: str, seed: str, start: str, count: str, seconds: str, position: str) -> None:
    """Read `count` inputs, or for `seconds`; write one JSON line for each finding."""
    began = time.monotonic()
    os.environ["EMOTION_EDGE_MAX_PIXELS"] = str(MAX_PIXELS)
    target = load_target(name)
    corpus = target.seeds()
    _limit_addresses()
    number = int(start)
    with tempfile.TemporaryDirectory() as folder, open(position, "wb", buffering=0) as at:
        while number < int(start) + int(count) and time.monotonic() - began < float(seconds):
            os.pwrite(at.fileno(), number.to_bytes(8, "little"), 0)
            data = target.input_of(int(seed), number, corpus)
            finding = read_one(target, data, Path(folder))
            if finding:
                print(json.dumps({"number": number, **finding}), flush=True)
            number += 1
    print(json.dumps({"next": number}), flush=True)


def read_one(
    target: Target, data: bytes, folder: Path, *, limited: bool = True
) -> dict[str, Any] | None:
    """Read one input; return the finding, or None.

    Args:
        target: The target of the input.
        data: The input.
        folder: An empty folder, for files.
        limited: Let the system end this process if the input takes too long.
    """
    one = folder / "input"
    shutil.rmtree(one, ignore_errors=True)
    one.mkdir()
    used = time.process_time()
    if limited:
        _limit_seconds(used)
    before = _reset_peak()
    finding = None
    try:
        target.read(data, one)
    except Exception as error:  # noqa: BLE001  every kind but the product's own is a finding
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "emotion_" in frame.filename] or list(frames)
        finding = {
            "kind": f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].name}",
            "text": traceback.format_exc()[-3000:],
        }
    used = time.process_time() - used
    peak = _peak() - before
    if finding is None and used > MAX_SECONDS:
        finding = {"kind": "slow", "text": f"{used:.1f} s"}
    if finding is None and peak > MAX_BYTES:
        finding = {"kind": "memory", "text": f"{peak >> 20} MB"}
    return finding


def _limit_seconds(used: float) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + KILL_SECONDS, hard))


def _limit_addresses() -> None:
    size = _status("VmSize")
    if size and hasattr(resource, "RLIMIT_AS"):
        resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESSES, resource.RLIM_INFINITY))


def _reset_peak() -> int:
    """Reset the peak memory of this process, and return the present memory; 0 if not on Linux."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    peak = _status("VmHWM")
    if peak:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
