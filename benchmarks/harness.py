"""What the benchmarks share: cases that take turns, ratios within a round, one table, one file.

Machines are noisy, so the cases take turns (A B C A B C …) and whatever else runs hits all
alike. A ratio is taken within a round; medians over the rounds are shown with their quartiles.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Seconds = dict[str, list[float]]


def take_turns(
    cases: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1, calls: int = 1
) -> Seconds:
    """Time the cases in turn.

    Args:
        cases: Name → what to run.
        rounds: Turns of each case.
        warm_up: Untimed turns before.
        calls: Calls in one turn.

    Returns:
        Name → seconds of one call, a figure for each round.
    """
    seconds: Seconds = {name: [] for name in cases}
    for number in range(-warm_up, rounds):
        for name, case in cases.items():
            started = time.perf_counter()
            for _ in range(calls):
                case()
            if number >= 0:
                seconds[name].append((time.perf_counter() - started) / calls)
    return seconds


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(seconds: Seconds, name: str, reference: str) -> tuple[float, float, float]:
    """Say how many times as long `name` takes as `reference`: the quartiles over the rounds."""
    pairs = zip(seconds[name], seconds[reference], strict=True)
    return quartiles([ours / theirs for ours, theirs in pairs])


def table(
    seconds: Seconds, reference: str, *, unit: float = 1e3, heading: str = "ms", count: int = 1
) -> str:
    """Lay out medians and ratios as markdown.

    Args:
        seconds: What `take_turns` gave.
        reference: The case that the ratios are taken to.
        unit: Units in a second.
        heading: The unit's name.
        count: Things done in one call; the figures are for one of them.
    """
    lines = [f"| | {heading} | quartiles | × {reference} |", "| --- | ---: | --- | ---: |"]
    for name, values in seconds.items():
        low, middle, high = (unit * value / count for value in quartiles(values))
        ratio = ratios(seconds, name, reference)[1]
        lines.append(f"| {name} | {middle:,.3g} | {low:,.3g}–{high:,.3g} | {ratio:.2f} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    from emotion_runtime.cpus import usable_cpus

    versions = {}
    for package in ("emotion-edge", "numpy", "pillow", "onnxruntime", "simplejpeg", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    model, flags = platform.processor() or platform.machine(), ""
    if (info := Path("/proc/cpuinfo")).is_file():
        fields = dict(
            line.split(":", 1) for line in info.read_text().splitlines() if line.count(":") == 1
        )
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        model, flags = fields.get("model name", model), fields.get("flags", "")
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp")
    memory = 0
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "instructions": [name for name in wanted if name in flags.split()],
        "cpus": usable_cpus(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def report(name: str, text: str, figures: Mapping[str, Any]) -> None:
    """Print a table under the machine's name, and keep the figures in ``results/NAME.json``."""
    described = machine()
    print(f"{described['cpu']}, {described['cpus']} CPUs, Python {described['python']}\n")
    print(text)
    RESULTS.mkdir(exist_ok=True)
    result = {"benchmark": name, "machine": described, **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
