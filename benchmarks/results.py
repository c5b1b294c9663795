"""What a benchmark leaves behind: a table, a picture, and figures to compare with another day's.

``NAME.md`` and ``NAME.png`` are for people. ``NAME.json`` has the machine and the figures, each
under ``lower_is_better`` or ``higher_is_better``, so that ``--against`` an earlier file of the
same machine can say what got worse.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

# Those whose version moves a figure.
_PACKAGES = [
    "emotion-edge",
    "numpy",
    "pillow",
    "onnxruntime",
    "simplejpeg",
    "torch",
    "openvino",
    "ncnn",
    "opencv-python-headless",
]


def options(doc: str, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """Give a parser with what all benchmarks take; ``--rounds`` where they take turns."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--against", type=Path, help="an earlier NAME.json of this machine")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.15,
        help="part by which a figure may be worse than the earlier one (default: 0.15)",
    )
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="turns of each case")
    return parser


def finish(
    chosen: argparse.Namespace,
    name: str,
    text: str,
    *,
    lower: Mapping[str, float] | None = None,
    higher: Mapping[str, float] | None = None,
    details: Mapping[str, Any] | None = None,
    draw: Callable[[Any], None] | None = None,
) -> None:
    """Print and keep a result; exit with 1 where it is worse than the one it is held against.

    Args:
        chosen: What `options` parsed.
        name: The benchmark's.
        text: Markdown.
        lower: Figures of which less is better.
        higher: Figures of which more is better.
        details: Whatever else belongs into the JSON file.
        draw: Draws the picture on a matplotlib figure.
    """
    described = machine()
    result = {
        "benchmark": name,
        "machine": described,
        "lower_is_better": dict(lower or {}),
        "higher_is_better": dict(higher or {}),
        **(details or {}),
    }
    print(f"{described['cpu']}, {described['cpus']} CPUs, Python {described['python']}\n")
    print(text)
    earlier = json.loads(chosen.against.read_text()) if chosen.against else None
    chosen.output.mkdir(parents=True, exist_ok=True)
    base = chosen.output / name
    base.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    base.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    if draw is not None:
        _draw(base.with_suffix(".png"), draw)
    if earlier is not None:
        worse = regressions(earlier, result, chosen.tolerance)
        for line in worse:
            print(f"worse: {line}", file=sys.stderr)
        if worse:
            sys.exit(1)
        print(f"\nno figure is more than {chosen.tolerance:.0%} worse than in {chosen.against}")


def regressions(earlier: dict[str, Any], now: dict[str, Any], tolerance: float) -> list[str]:
    """Name the figures that are worse by more than `tolerance`, or gone.

    Raises:
        SystemExit: They are of two benchmarks, or of two machines.
    """
    before, after = _identity(earlier), _identity(now)
    if before != after:
        sys.exit(f"not to be compared: {before} and {after}")
    found = []
    for kind, sign in (("lower_is_better", 1), ("higher_is_better", -1)):
        for name, before in earlier[kind].items():
            after = now[kind].get(name)
            if after is None:
                found.append(f"{name}: not measured any more")
            elif sign * (after / before - 1) > tolerance:
                found.append(f"{name}: {after:.4g}, was {before:.4g} ({after / before - 1:+.0%})")
    return found


def _identity(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"{result['benchmark']} on {machine['cpu']}, {machine['cpus']} CPUs"


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    from emotion_runtime.cpus import count_usable_cpus

    versions = {}
    for package in _PACKAGES:
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
        "cpus": count_usable_cpus(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _draw(path: Path, draw: Callable[[Any], None]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed (pip install '.[bench]')", file=sys.stderr)
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    draw(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def draw_bars(figure: Any, values: Mapping[str, float], xlabel: str) -> None:
    """Draw horizontal bars with their figures, the first on top."""
    from harness import amount

    axes = figure.subplots()
    names = list(values)[::-1]
    bars = axes.barh(names, [values[name] for name in names], color="#4477aa")
    axes.bar_label(bars, [amount(values[name]) for name in names], padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel(xlabel)
