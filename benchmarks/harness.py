"""How the benchmarks time: cases that take turns, and ratios within a round.

Machines are noisy, so the cases take turns (A B C A B C …) and whatever else runs hits all
alike. A ratio is taken within a round; medians over the rounds are shown with their quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def take_turns(
    cases: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 1,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Time the cases in turn.

    Args:
        cases: Name → what to run.
        rounds: Turns of each case.
        warm_up: Untimed turns before.
        calls: Calls in one turn.
        clock: What is read, in seconds; `time.process_time` for what the CPUs did.

    Returns:
        Name → seconds of one call, a figure for each round.
    """
    seconds: Seconds = {name: [] for name in cases}
    for number in range(-warm_up, rounds):
        for name, case in cases.items():
            started = clock()
            for _ in range(calls):
                case()
            if number >= 0:
                seconds[name].append((clock() - started) / calls)
    return seconds


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def medians(seconds: Seconds, *, unit: float = 1.0, count: int = 1) -> dict[str, float]:
    """Return the median of each case, in units of which a second has `unit`, for one of `count`."""
    return {name: unit * quartiles(values)[1] / count for name, values in seconds.items()}


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
        lines.append(f"| {name} | {amount(middle)} | {amount(low)}–{amount(high)} | {ratio:.2f} |")
    return "\n".join(lines)


def amount(value: float) -> str:
    """Write a number with three digits, and never with a power of ten."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"
