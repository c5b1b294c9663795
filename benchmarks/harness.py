"""Timing for the benchmarks: cases that take turns, and ratios within a round.

Machines are noisy, so the cases take turns (A B C A B C …): other load affects all of them alike.
Ratios are taken within a round, and the tables show medians over the rounds with their quartiles.
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
        cases: Name → the function to call.
        rounds: Number of timed turns of each case.
        warm_up: Number of untimed turns before them.
        calls: Number of calls in one turn.
        clock: Returns a time in seconds; `time.process_time` measures CPU time.

    Returns:
        Name → seconds of one call, one value a round.
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
    """Return the median of each case for one of `count` items, in units of 1/`unit` seconds."""
    return {name: unit * quartiles(values)[1] / count for name, values in seconds.items()}


def ratios(seconds: Seconds, name: str, reference: str) -> tuple[float, float, float]:
    """Return how many times as long as `reference` a case takes: quartiles over the rounds."""
    pairs = zip(seconds[name], seconds[reference], strict=True)
    return quartiles([time / reference_time for time, reference_time in pairs])


def format_table(
    seconds: Seconds, reference: str, *, unit: float = 1e3, heading: str = "ms", count: int = 1
) -> str:
    """Return medians and ratios as a Markdown table.

    Args:
        seconds: The result of `take_turns`.
        reference: The case that the others are divided by.
        unit: Units in a second.
        heading: The name of the unit.
        count: Number of items in one call; the figures are for one item.
    """
    lines = [f"| | {heading} | quartiles | × {reference} |", "| --- | ---: | --- | ---: |"]
    for name, values in seconds.items():
        low, middle, high = (unit * value / count for value in quartiles(values))
        ratio = ratios(seconds, name, reference)[1]
        spread = f"{format_amount(low)}–{format_amount(high)}"
        lines.append(f"| {name} | {format_amount(middle)} | {spread} | {ratio:.2f} |")
    return "\n".join(lines)


def format_amount(value: float) -> str:
    """Return a number with three digits, without a power of ten."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"
