"""Time one call of each model: ``python benchmarks/latency.py [MODEL…]``.

Two tables: one face on one thread (percentiles, the ratio to the first model, and the share of the
machine's rate of matrix multiplication), and microseconds a face by batch size and threads.
"""

from __future__ import annotations

import os

# Before numpy: the rate of matrix multiplication is measured with one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.cpus import count_usable_cpus
from harness import Seconds, format_amount, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, report_result

BATCH_SIZES = (1, 4, 16, 64, 256)
CALLS_PER_TURN = 20


def measure_multiply_rate(rounds: int = 15) -> float:
    """Return the fp32 multiply-adds a second of numpy's product of two 768×768 matrices."""
    left, right = np.random.default_rng(0).random((2, 768, 768), dtype=np.float32)
    seconds = take_turns({"sgemm": lambda: left @ right}, rounds=rounds, warm_up=3)["sgemm"]
    return 768**3 / min(seconds)


def count_multiply_adds(classifier: EmotionClassifier) -> int | None:
    """Return the multiply-adds of a released network; None where it cannot be built."""
    try:
        from emotion_train.networks import build_network
        from emotion_train.networks.face_network import count_multiply_adds as count

        # A file may have fewer labels than its network has classes.
        classes = (*classifier.labels, *classifier.contract.other_classes)
        return count(build_network(classifier.contract.network, len(classes)))
    except (ImportError, KeyError):
        return None


def draw_faces(count: int) -> np.ndarray:
    """Return random pixels, uint8 (count, 1, 48, 48): the contents do not change the time."""
    return np.random.default_rng(0).integers(0, 256, (count, 1, 48, 48), dtype=np.uint8)


def time_one_face(names: tuple[str, ...], calls: int) -> tuple[str, Seconds]:
    """Time single calls with one face, in bursts that take turns; return a table and the times."""
    models = {Path(name).stem: EmotionClassifier(name, threads=1) for name in names}
    face, first = draw_faces(1), Path(names[0]).stem
    each: Seconds = {name: [] for name in models}

    def run_burst(name: str) -> None:
        infer = models[name].infer
        for _ in range(CALLS_PER_TURN):
            started = time.perf_counter()
            infer(face)
            each[name].append(time.perf_counter() - started)

    cases = {name: partial(run_burst, name) for name in models}
    seconds = take_turns(cases, rounds=calls // CALLS_PER_TURN, warm_up=3)
    rate = measure_multiply_rate()
    lines = [
        f"One face, one thread, {calls:,} calls each, in bursts of {CALLS_PER_TURN} that take "
        f"turns; the machine multiplies matrices at {rate / 1e9:.0f} G multiply-adds a second "
        "(fp32).\n",
        f"| model | p50 µs | p90 | p99 | times as fast as {first} | of the fp32 rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in seconds:
        values = each[name][3 * CALLS_PER_TURN :]
        p50, p90, p99 = (format_amount(1e6 * q) for q in np.percentile(values, (50, 90, 99)))
        faster = ratios(seconds, first, name)[1]
        cost = count_multiply_adds(models[name])
        share = "–" if cost is None else f"{cost / np.percentile(values, 50) / rate:.0%}"
        lines.append(f"| {name} | {p50} | {p90} | {p99} | {faster:.2f} | {share} |")
    per_call = {name: [turn / CALLS_PER_TURN for turn in turns] for name, turns in seconds.items()}
    return "\n".join(lines), per_call


def time_batches(names: tuple[str, ...], rounds: int) -> tuple[str, dict[str, dict[int, float]]]:
    """Time batches on one thread and on all.

    Returns:
        A table, and microseconds a face by case and batch size.
    """
    threads = sorted({1, count_usable_cpus()})
    times: dict[str, dict[int, float]] = {}
    for count in BATCH_SIZES:
        pixels = draw_faces(count)
        cases = {
            f"{Path(name).stem}, {n} thread{'s' * (n > 1)}": partial(
                EmotionClassifier(name, threads=n).infer, pixels
            )
            for name in names
            for n in threads
        }
        seconds = take_turns(cases, rounds=rounds, warm_up=2, calls=max(1, 16 // count))
        for name, value in medians(seconds, unit=1e6, count=count).items():
            times.setdefault(name, {})[count] = value
    lines = [
        "Microseconds a face, by batch size:\n",
        "| model | " + " | ".join(map(str, BATCH_SIZES)) + " |",
        "| --- |" + " ---: |" * len(BATCH_SIZES),
    ]
    for name, row in times.items():
        cells = [format_amount(row[count]) for count in BATCH_SIZES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines), times


@benchmark_command(__doc__, rounds=9)
@click.argument("models", nargs=-1)
@click.option("--calls", type=click.IntRange(min=CALLS_PER_TURN), default=1000, show_default=True)
def main(options: ResultOptions, models: tuple[str, ...], calls: int, rounds: int) -> None:
    """Print both tables; the other models are compared with the first."""
    names = models or tuple(sorted(emotion_models.names(), key=lambda name: name != "baseline"))
    first, seconds = time_one_face(names, calls)
    second, by_batch = time_batches(names, rounds)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for number, (name, row) in enumerate(by_batch.items()):
            style = "-" if "1 thread" in name else "--"
            colour = f"C{number // (len(by_batch) // len(names))}"
            axes.plot(list(row), list(row.values()), style, marker="o", color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlabel="faces in a batch", ylabel="µs a face")
        axes.set_xticks(BATCH_SIZES, map(str, BATCH_SIZES))
        figure.legend(fontsize="small", loc="outside right upper")

    reference = Path(names[0]).stem
    report_result(
        options,
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
