"""Compare CPU time with waiting time: ``python benchmarks/power.py``.

CPU seconds are what a battery pays for. The cases are the choices of threads: onnxruntime's threads
for one call, with and without spinning (a thread that spins looks for work in a loop before it
sleeps), the workers of a folder, and the threads that numpy's OpenBLAS starts at its import.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.model.session import import_onnxruntime
from harness import format_amount, quartiles
from results import ResultOptions, benchmark_command, draw_bars, report_result

SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.png"))
FRAME_SECONDS = 1 / 30  # of a camera
_PAUSE_SECONDS = 0.05
_IDLE_SHARE = 0.05  # of one core, up to which a process is idle


@dataclass(frozen=True)
class Cost:
    """The time of one item.

    Attributes:
        wall: Seconds from start to end.
        cpu: CPU seconds of all threads and finished children.
    """

    wall: float
    cpu: float


def _read_cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _wait_until_idle() -> None:
    """Wait until no thread of this process works.

    Threads of an earlier case spin for a while after its end, and would count in the next one.
    """
    while True:
        before = time.process_time()
        time.sleep(_PAUSE_SECONDS)
        if time.process_time() - before < _IDLE_SHARE * _PAUSE_SECONDS:
            return


def measure_costs(
    cases: Mapping[str, Callable[[], object]], *, rounds: int, count: int = 1
) -> dict[str, list[Cost]]:
    """Run the cases in turn, after one untimed turn of each.

    Args:
        cases: Name → the function to call.
        rounds: Number of timed turns of each case.
        count: Number of items in one call.

    Returns:
        Name → the cost of one item, one value a round.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in cases}
    for number in range(-1, rounds):
        for name, case in cases.items():
            _wait_until_idle()
            wall, cpu = time.perf_counter(), _read_cpu_seconds()
            case()
            wall, cpu = time.perf_counter() - wall, _read_cpu_seconds() - cpu
            if number >= 0:
                costs[name].append(Cost(wall / count, cpu / count))
    return costs


def format_costs(costs: Mapping[str, list[Cost]], *, unit: float, heading: str) -> str:
    """Return a Markdown table: medians, and ratios to the first case within a round.

    Args:
        costs: The result of `measure_costs`.
        unit: Units in a second.
        heading: The name of the unit.
    """
    lines = [
        f"| | waiting, {heading} | CPU, {heading} | waiting, × | CPU, × |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    first = next(iter(costs.values()))
    for name, values in costs.items():
        wall, cpu = (quartiles([getattr(v, kind) for v in values])[1] for kind in ("wall", "cpu"))
        pairs = list(zip(values, first, strict=True))
        slower = quartiles([value.wall / reference.wall for value, reference in pairs])[1]
        dearer = quartiles([value.cpu / reference.cpu for value, reference in pairs])[1]
        lines.append(
            f"| {name} | {format_amount(unit * wall)} | {format_amount(unit * cpu)} | "
            f"{slower:.2f} | {dearer:.2f} |"
        )
    return "\n".join(lines)


def open_raw_session(model: str, *, threads: int, spinning: bool) -> Callable[[int], object]:
    """Return a function that classifies a batch of that many faces."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = onnxruntime.InferenceSession(
        emotion_models.model_path(model).read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    faces = np.random.default_rng(0).integers(0, 256, (256, 1, 48, 48), dtype=np.uint8)
    return lambda batch: session.run(["probabilities"], {"pixels": faces[:batch]})


def _list_thread_choices(cpus: int) -> list[tuple[str, int, bool]]:
    """Return name, threads and spinning of each choice; the first one is the default."""
    choices = [("1 thread (the default)", 1, False)]
    if cpus > 1:
        choices.append((f"{cpus} threads", cpus, False))
        choices.append((f"{cpus} threads that spin", cpus, True))
    return choices


def _run_frames(run: Callable[[int], object], frames: int) -> None:
    """Classify one face, then sleep until the next frame of a camera."""
    following = time.perf_counter()
    for _ in range(frames):
        run(1)
        following += FRAME_SECONDS
        time.sleep(max(0.0, following - time.perf_counter()))


def _classify_folder(classifier: EmotionClassifier, folder: str, workers: int) -> None:
    for _ in classifier.predict_folder(folder, workers=workers):
        pass


def _make_start(**variables: str) -> Callable[[], object]:
    """Return a function that runs `emotion-infer` on one picture."""
    command = [str(Path(sys.executable).with_name("emotion-infer")), "-q", str(SAMPLES[0])]
    unset = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | variables
    return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)


@benchmark_command(__doc__, rounds=15)
@click.option("--model", default=emotion_models.DEFAULT_MODEL, show_default=True)
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    default=3000,
    show_default=True,
    help="Pictures of the folder.",
)
def main(options: ResultOptions, rounds: int, model: str, pictures: int) -> None:
    """Print the tables."""
    cpus = count_usable_cpus()
    runs = {
        name: open_raw_session(model, threads=threads, spinning=spinning)
        for name, threads, spinning in _list_thread_choices(cpus)
    }
    tables: dict[str, tuple[dict[str, list[Cost]], float, str]] = {}
    for batch, calls in ((1, 200), (32, 10)):
        cases: dict[str, Callable[[], object]] = {
            name: lambda run=run, batch=batch, calls=calls: [  # type: ignore[misc]
                run(batch) for _ in range(calls)
            ]
            for name, run in runs.items()
        }
        title = "One face after the other" if batch == 1 else f"Batches of {batch} faces"
        tables[title] = (
            measure_costs(cases, rounds=rounds, count=batch * calls),
            1e6,
            "µs a face",
        )
    frames = 15
    cases = {name: lambda run=run: _run_frames(run, frames) for name, run in runs.items()}  # type: ignore[misc]
    tables["A camera, 30 frames a second"] = (
        measure_costs(cases, rounds=min(rounds, 5), count=frames),
        1e3,
        "ms a frame",
    )
    classifier = EmotionClassifier(model)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(pictures):
            Path(folder, f"{number:06}.png").symlink_to(SAMPLES[number % len(SAMPLES)])
        cases = {
            f"{workers} worker{'s' if workers > 1 else ''}": (
                lambda workers=workers: _classify_folder(classifier, folder, workers)  # type: ignore[misc]
            )
            for workers in sorted({1, cpus})
        }
        tables[f"A folder of {pictures:,} pictures"] = (
            measure_costs(cases, rounds=min(rounds, 5), count=pictures),
            1e6,
            "µs a picture",
        )
    cases = {
        "emotion-infer": _make_start(),
        f"OPENBLAS_NUM_THREADS={cpus}": _make_start(OPENBLAS_NUM_THREADS=str(cpus)),
    }
    tables["One picture, with the start of the process"] = (
        measure_costs(cases, rounds=rounds),
        1e3,
        "ms",
    )
    figures: dict[str, float] = {}
    text = []
    for title, (costs, unit, heading) in tables.items():
        text.append(f"{title}:\n\n{format_costs(costs, unit=unit, heading=heading)}")
        for name, values in costs.items():
            figures[f"{title}, {name}, CPU {heading}"] = (
                unit * quartiles([value.cpu for value in values])[1]
            )
    report_result(
        options,
        "power",
        "\n\n".join(text),
        lower=figures,
        draw=lambda figure: draw_bars(
            figure,
            {n: v for n, v in figures.items() if "camera" in n},
            "CPU ms a frame",
        ),
    )


if __name__ == "__main__":
    main()
