"""Time one call of each model side by side: ``python benchmarks/latency.py [MODEL…]``.

The models take turns, round after round, so that whatever else the machine does hits all alike;
a ratio is taken within a round, and the median over the rounds is printed with its quartiles.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

import emotion_models
from emotion_runtime import EmotionClassifier

ROUNDS, CALLS, WARM_UP = 60, 20, 50


def measure(models: dict[str, EmotionClassifier], batch: int) -> dict[str, list[float]]:
    """Return name → seconds of one call, a figure for each round."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, 1, 48, 48), dtype=np.uint8)
    for model in models.values():
        for _ in range(WARM_UP):
            model.infer(pixels)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                model.infer(pixels)
            seconds[name].append((time.perf_counter() - started) / CALLS)
    return seconds


def main(names: list[str]) -> None:
    """Print a table; the first model is what the others are compared with."""
    models = {name: EmotionClassifier(name, threads=1) for name in names}
    seconds = measure(models, batch=1)
    first = seconds[names[0]]
    print("batch 1, 1 thread, median of", ROUNDS, "rounds (quartiles)\n")
    print(f"{'model':<16}{'µs a call':>12}   times as fast as {Path(names[0]).stem}")
    for name in names:
        ratios = [a / b for a, b in zip(first, seconds[name], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        microseconds = 1e6 * statistics.median(seconds[name])
        print(f"{Path(name).stem:<16}{microseconds:>12,.0f}   {middle:.2f} ({low:.2f}–{high:.2f})")


if __name__ == "__main__":
    released = sorted(emotion_models.names(), key=lambda name: name != "baseline")
    main(sys.argv[1:] or released)
