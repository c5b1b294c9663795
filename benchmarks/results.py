"""The command line and the result files of a benchmark.

A benchmark writes a table (``NAME.md``), a picture (``NAME.png``) and its figures (``NAME.json``).
The JSON file has the machine too, and each figure is under ``lower_is_better`` or
``higher_is_better``: ``--against`` an earlier file of the same machine reports what got worse.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness import format_amount

RESULTS = Path(__file__).parent / "results"

# Packages whose version can change a figure.
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


@dataclass(frozen=True)
class ResultOptions:
    """Where a benchmark writes its results, and what it compares them with.

    Attributes:
        output: The folder of the results.
        against: An earlier ``NAME.json`` of the same machine.
        tolerance: The share by which a figure may be worse than the earlier one.
    """

    output: Path = RESULTS
    against: Path | None = None
    tolerance: float = 0.15


def benchmark_command(
    doc: str, *, rounds: int | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that makes a function the command of a benchmark.

    The function gets the common options as `options`, a `ResultOptions`, and `rounds` if a
    default is given.

    Args:
        doc: The docstring of the script; its first paragraph is the help text.
        rounds: The default of ``--rounds``; None for no such option.
    """
    common = [
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            default=RESULTS,
            help="Folder of the results.  [default: benchmarks/results]",
        ),
        click.option(
            "--against",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Compare with an earlier NAME.json of this machine.",
        ),
        click.option(
            "--tolerance",
            type=float,
            default=ResultOptions.tolerance,
            show_default=True,
            help="The share by which a figure may be worse than the earlier one.",
        ),
    ]
    if rounds is not None:
        common.append(
            click.option(
                "--rounds",
                type=click.IntRange(min=1),
                default=rounds,
                show_default=True,
                help="How often each case is timed.",
            )
        )

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(*, output: Path, against: Path | None, tolerance: float, **others: Any) -> None:
            function(options=ResultOptions(output, against, tolerance), **others)

        for option in reversed(common):
            run = option(run)
        return click.command(help=doc.partition("\n\n")[0])(run)

    return decorate


def report_result(
    options: ResultOptions,
    name: str,
    text: str,
    *,
    lower: Mapping[str, float] | None = None,
    higher: Mapping[str, float] | None = None,
    details: Mapping[str, Any] | None = None,
    draw: Callable[[Any], None] | None = None,
) -> None:
    """Print and save a result; exit with 1 if it is worse than the earlier one.

    Args:
        options: The common options.
        name: The name of the benchmark.
        text: The tables, Markdown.
        lower: Figures for which lower is better.
        higher: Figures for which higher is better.
        details: Further values of the JSON file.
        draw: Draws the picture on a matplotlib figure.
    """
    machine = describe_machine()
    result = {
        "benchmark": name,
        "machine": machine,
        "lower_is_better": dict(lower or {}),
        "higher_is_better": dict(higher or {}),
        **(details or {}),
    }
    print(f"{machine['cpu']}, {machine['cpus']} CPUs, Python {machine['python']}\n")
    print(text)
    earlier = json.loads(options.against.read_text()) if options.against else None
    options.output.mkdir(parents=True, exist_ok=True)
    base = options.output / name
    base.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    base.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    if draw is not None:
        _save_picture(base.with_suffix(".png"), draw)
    if earlier is not None:
        worse = find_regressions(earlier, result, options.tolerance)
        for line in worse:
            print(f"worse: {line}", file=sys.stderr)
        if worse:
            sys.exit(1)
        print(f"\nno figure is more than {options.tolerance:.0%} worse than in {options.against}")


def find_regressions(earlier: dict[str, Any], now: dict[str, Any], tolerance: float) -> list[str]:
    """Return a line for each figure that is missing, or worse by more than `tolerance`.

    Raises:
        SystemExit: The results are of different benchmarks or machines.
    """
    before, after = _describe_source(earlier), _describe_source(now)
    if before != after:
        sys.exit(f"results cannot be compared: {before} and {after}")
    found = []
    for kind, sign in (("lower_is_better", 1), ("higher_is_better", -1)):
        for name, before in earlier[kind].items():
            after = now[kind].get(name)
            if after is None:
                found.append(f"{name}: no longer measured")
            elif sign * (after / before - 1) > tolerance:
                found.append(f"{name}: {after:.4g}, was {before:.4g} ({after / before - 1:+.0%})")
    return found


def _describe_source(result: dict[str, Any]) -> str:
    """Return the benchmark and the machine of a result."""
    machine = result["machine"]
    return f"{result['benchmark']} on {machine['cpu']}, {machine['cpus']} CPUs"


def describe_machine() -> dict[str, Any]:
    """Return the machine and the versions that the figures are measured on."""
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
    instructions = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp")
    memory = 0
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "instructions": [name for name in instructions if name in flags.split()],
        "cpus": count_usable_cpus(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _save_picture(path: Path, draw: Callable[[Any], None]) -> None:
    """Write the picture as PNG; without matplotlib, print why there is none."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(
            "no picture: matplotlib is not installed (pip install '.[all]' --group bench)",
            file=sys.stderr,
        )
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    draw(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def draw_bars(figure: Any, values: Mapping[str, float], xlabel: str) -> None:
    """Draw horizontal bars with their figures, the first one at the top."""
    axes = figure.subplots()
    names = list(values)[::-1]
    bars = axes.barh(names, [values[name] for name in names], color="#4477aa")
    axes.bar_label(bars, [format_amount(values[name]) for name in names], padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel(xlabel)
