"""Time one call of each model: ``python benchmarks/latency.py [MODEL…]``.

Two tables: a single face on one thread (percentiles, ratio to the first model, and the share of
the machine's own matrix-multiply rate that is reached), and microseconds a face over batch sizes
and threads.
"""

from __future__ import annotations

import os

# Before numpy: the rate that the networks are held against is that of one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.cpus import count_usable_cpus
from harness import Seconds, amount, medians, ratios, take_turns
from results import finish, options

BATCHES = (1, 4, 16, 64, 256)
BURST = 20  # calls in a turn


def multiply_rate(rounds: int = 15) -> float:
    """Measure fp32 multiply-adds a second of one thread: numpy's product of two 768×768."""
    left, right = np.random.default_rng(0).random((2, 768, 768), dtype=np.float32)
    seconds = take_turns({"sgemm": lambda: left @ right}, rounds=rounds, warm_up=3)["sgemm"]
    return 768**3 / min(seconds)


def multiply_adds(classifier: EmotionClassifier) -> int | None:
    """Count a released network's multiply-adds; None where it cannot be built here."""
    try:
        from emotion_train.networks import build_network
        from emotion_train.networks.face_network import multiply_adds as count

        # A file may keep some of the network's classes.
        classes = (*classifier.labels, *classifier.contract.other_classes)
        return count(build_network(classifier.contract.network, len(classes)))
    except (ImportError, KeyError):
        return None


def faces(count: int) -> np.ndarray:
    """Draw pixels; what they show does not change the time."""
    return np.random.default_rng(0).integers(0, 256, (count, 1, 48, 48), dtype=np.uint8)


def single_face(names: list[str], calls: int) -> tuple[str, Seconds]:
    """Time calls of one face one by one, in bursts that take turns."""
    models = {Path(name).stem: EmotionClassifier(name, threads=1) for name in names}
    face, first = faces(1), Path(names[0]).stem
    each: Seconds = {name: [] for name in models}

    def burst(name: str) -> None:
        infer = models[name].infer
        for _ in range(BURST):
            started = time.perf_counter()
            infer(face)
            each[name].append(time.perf_counter() - started)

    cases = {name: partial(burst, name) for name in models}
    seconds = take_turns(cases, rounds=calls // BURST, warm_up=3)
    rate = multiply_rate()
    lines = [
        f"One face, one thread, {calls:,} calls each, in bursts of {BURST} that take turns; the "
        f"machine multiplies matrices at {rate / 1e9:.0f} G multiply-adds a second (fp32).\n",
        f"| model | p50 µs | p90 | p99 | times as fast as {first} | of the fp32 rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in seconds:
        values = each[name][3 * BURST :]
        p50, p90, p99 = (amount(1e6 * q) for q in np.percentile(values, (50, 90, 99)))
        faster = ratios(seconds, first, name)[1]
        cost = multiply_adds(models[name])
        share = "–" if cost is None else f"{cost / np.percentile(values, 50) / rate:.0%}"
        lines.append(f"| {name} | {p50} | {p90} | {p99} | {faster:.2f} | {share} |")
    return "\n".join(lines), {name: [t / BURST for t in ts] for name, ts in seconds.items()}


def batches(names: list[str], rounds: int) -> tuple[str, dict[str, dict[int, float]]]:
    """Time batches on one thread and on all; microseconds a face by model and threads."""
    threads = sorted({1, count_usable_cpus()})
    shown: dict[str, dict[int, float]] = {}
    for count in BATCHES:
        pixels = faces(count)
        cases = {
            f"{Path(name).stem}, {n} thread{'s' * (n > 1)}": partial(
                EmotionClassifier(name, threads=n).infer, pixels
            )
            for name in names
            for n in threads
        }
        seconds = take_turns(cases, rounds=rounds, warm_up=2, calls=max(1, 16 // count))
        for name, value in medians(seconds, unit=1e6, count=count).items():
            shown.setdefault(name, {})[count] = value
    lines = [
        "Microseconds a face, by batch size:\n",
        "| model | " + " | ".join(map(str, BATCHES)) + " |",
        "| --- |" + " ---: |" * len(BATCHES),
    ]
    for name, row in shown.items():
        lines.append(f"| {name} | " + " | ".join(amount(row[count]) for count in BATCHES) + " |")
    return "\n".join(lines), shown


def main() -> None:
    """Print both tables; the first model is what the others are compared with."""
    parser = options(__doc__, rounds=9)
    released = sorted(emotion_models.names(), key=lambda name: name != "baseline")
    parser.add_argument("models", nargs="*", default=released)
    parser.add_argument("--calls", type=int, default=1000)
    chosen = parser.parse_args()
    first, seconds = single_face(chosen.models, chosen.calls)
    second, by_batch = batches(chosen.models, chosen.rounds)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for number, (name, row) in enumerate(by_batch.items()):
            style = "-" if "1 thread" in name else "--"
            colour = f"C{number // (len(by_batch) // len(chosen.models))}"
            axes.plot(list(row), list(row.values()), style, marker="o", color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlabel="faces in a batch", ylabel="µs a face")
        axes.set_xticks(BATCHES, map(str, BATCHES))
        figure.legend(fontsize="small", loc="outside right upper")

    reference = Path(chosen.models[0]).stem
    finish(
        chosen,
        "latency",
        f"{first}\n\n{second}",
        lower={f"{name}, µs": value for name, value in medians(seconds, unit=1e6).items()},
        higher={
            f"{name}, times as fast as {reference}": ratios(seconds, reference, name)[1]
            for name in seconds
        },
        details={"microseconds_a_face": by_batch},
        draw=draw,
    )


if __name__ == "__main__":
    main()
