"""Time one call of each model side by side: ``python benchmarks/latency.py [MODEL…]``.

The models take turns, round after round, so that whatever else the machine does hits all alike;
a ratio is taken within a round, and the median over the rounds is printed with its quartiles.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
from harness import quartiles, ratios, report, take_turns

import emotion_models
from emotion_runtime import EmotionClassifier

ROUNDS, CALLS = 60, 20


def main(names: list[str]) -> None:
    """Print a table; the first model is what the others are compared with."""
    face = np.random.default_rng(0).integers(0, 256, (1, 1, 48, 48), dtype=np.uint8)
    cases = {name: partial(EmotionClassifier(name, threads=1).infer, face) for name in names}
    seconds = take_turns(cases, rounds=ROUNDS, warm_up=3, calls=CALLS)
    lines = [
        f"batch 1, 1 thread, median of {ROUNDS} rounds (quartiles)\n",
        f"{'model':<16}{'µs a call':>12}   times as fast as {Path(names[0]).stem}",
    ]
    for name, values in seconds.items():
        low, middle, high = ratios(seconds, names[0], name)
        microseconds = 1e6 * quartiles(values)[1]
        shown = f"{Path(name).stem:<16}{microseconds:>12,.0f}"
        lines.append(f"{shown}   {middle:.2f} ({low:.2f}–{high:.2f})")
    report("latency", "\n".join(lines), {"seconds": seconds})


if __name__ == "__main__":
    released = sorted(emotion_models.names(), key=lambda name: name != "baseline")
    main(sys.argv[1:] or released)
