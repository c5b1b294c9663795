"""Measure the costs of large jobs: ``python benchmarks/scaling.py``.

Reports the CPU time of a picture (small faces, photographs, faces in photographs), the memory of a
worker, the speed of two Ray workers compared with one, the fixed cost of a partition, and the speed
of training with two processes compared with one process of two threads. The pictures are drawn.
Needs the extras [ray] and [train].
"""

from __future__ import annotations

import csv
import functools
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from emotion_runtime import EmotionClassifier, FaceClassifier
from harness import format_amount, quartiles, ratios, take_turns
from photos import draw_photograph
from results import ResultOptions, benchmark_command, draw_bars, report_result

PICTURES_PER_KIND = {
    "48×48 face": 2000,
    "photograph, 12 megapixels": 40,
    "faces in 2 megapixels": 24,
}
REPEATS = 30  # of the photographs with Ray, whose workers need a second to start


def draw_faces(folder: Path, count: int, *, labelled: bool = False) -> None:
    """Draw JPEGs of 48×48 pixels; labelled ones lie in class folders, for training."""
    rng = np.random.default_rng(0)
    for number in range(count):
        label = ("happy", "sad", "surprise")[number % 3]
        target = folder / "train" / label if labelled else folder
        target.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(small).resize((48, 48)).save(target / f"{number:05}.jpg")


def measure_cpu_time(folders: dict[str, Path], rounds: int) -> dict[str, float]:
    """Return the CPU milliseconds of a picture, by kind."""
    classifier = EmotionClassifier()

    def run(kind: str) -> None:
        paths = map(str, sorted(folders[kind].iterdir()))
        chosen = FaceClassifier(classifier) if "faces in" in kind else classifier
        for _ in chosen.predict_many(paths, workers=1):
            pass

    cases = {kind: functools.partial(run, kind) for kind in folders}
    seconds = take_turns(cases, rounds=rounds, clock=time.process_time)
    return {
        kind: 1e3 * quartiles(seconds[kind])[1] / count for kind, count in PICTURES_PER_KIND.items()
    }


def measure_memory(folder: Path) -> float:
    """Return the peak memory of one process over large pictures, in MiB."""
    code = (
        "import sys\n"
        "from emotion_runtime import EmotionClassifier\n"
        "list(EmotionClassifier().predict_folder(sys.argv[1], workers=1))\n"
        # Not getrusage: its peak includes that of the parent process.
        "status = open('/proc/self/status').read()\n"
        "print(int(status.partition('VmHWM:')[2].split()[0]) / 1024)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def build_ray_cases(photos: Path, faces: Path, scratch: Path) -> dict[str, Callable[[], object]]:
    """Return cases of one and two workers, and of few and many partitions."""
    from emotion_runtime.ray.job import predict_to

    numbers = itertools.count()

    def run(folder: Path, workers: int, partition: int, times: int = 1) -> Callable[[], object]:
        return lambda: predict_to(
            [str(folder)] * times,
            str(scratch / f"out {next(numbers)}"),
            partition_size=partition,
            concurrency=workers,
        )

    return {
        "photographs, 1 worker": run(photos, 1, 50, REPEATS),
        "photographs, 2 workers": run(photos, 2, 50, REPEATS),
        "faces, 4 partitions": run(faces, 2, 500),
        "faces, 100 partitions": run(faces, 2, 20),
    }


def measure_training(data: Path, scratch: Path, *, processes: int, threads: int) -> float:
    """Return the images a second in the second epoch of a training."""
    folder = scratch / "run"
    shutil.rmtree(folder, ignore_errors=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [
        *(sys.executable, *launcher, "-m", "emotion_train", str(data), "-o", str(folder)),
        *("--network", "baseline", "--epochs", "2", "--threads", str(threads)),
        *("--augmentation", "standard", "--batch-size", "128"),
        *("--precision", "bf16", "-q"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with (folder / "history.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["images_per_second"])


def compare_trainings(data: Path, scratch: Path, rounds: int) -> Iterator[tuple[float, float]]:
    """Yield in each round the rates of one process with two threads, and of two with one."""
    for _ in range(rounds):
        yield (
            measure_training(data, scratch, processes=1, threads=2),
            measure_training(data, scratch, processes=2, threads=1),
        )


@benchmark_command(__doc__, rounds=3)
def main(options: ResultOptions, rounds: int) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folders = {kind: scratch / str(index) for index, kind in enumerate(PICTURES_PER_KIND)}
        small, large, scenes = folders.values()
        draw_faces(small, PICTURES_PER_KIND["48×48 face"])
        large.mkdir()
        data = draw_photograph(12)
        for number in range(PICTURES_PER_KIND["photograph, 12 megapixels"]):
            (large / f"{number:03}.jpg").write_bytes(data)
        from faces import draw_scenes

        scenes.mkdir()
        draw_scenes(scenes, PICTURES_PER_KIND["faces in 2 megapixels"])
        text, lower, higher = measure(folders, scratch, rounds)
    times = {kind: lower[f"{kind}, CPU ms"] for kind in PICTURES_PER_KIND}
    report_result(
        options,
        "scaling",
        text,
        lower=lower,
        higher=higher,
        draw=lambda figure: draw_bars(figure, times, "CPU ms a picture"),
    )


def measure(
    folders: dict[str, Path], scratch: Path, rounds: int
) -> tuple[str, dict[str, float], dict[str, float]]:
    """Return the tables, figures for which lower is better, and those for which higher is."""
    small, large, _ = folders.values()
    lines = [
        "| one core | CPU ms a picture | pictures a core-second | bytes read | a billion takes |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lower: dict[str, float] = {}
    for kind, cost in measure_cpu_time(folders, rounds).items():
        files = [path.stat().st_size for path in folders[kind].iterdir()]
        size = sum(files) / len(files)
        lower[f"{kind}, CPU ms"] = cost
        lines.append(
            f"| {kind} | {format_amount(cost)} | {format_amount(1e3 / cost)} | "
            f"{format_amount(size / 1e3)} kB | {format_amount(cost * 1e6 / 3600)} core-hours, "
            f"{format_amount(size * 1e9 / 1e12)} TB |"
        )
    lower["MiB of a worker"] = measure_memory(large)
    lines.append(f"\nA worker holds {lower['MiB of a worker']:.0f} MiB.")
    higher: dict[str, float] = {}
    cases = build_ray_cases(large, small, scratch)
    seconds = take_turns(cases, rounds=rounds)
    one, two, few, many = cases
    higher["photographs, 2 Ray workers over 1"] = ratios(seconds, one, two)[1]
    extra = quartiles([b - a for a, b in zip(seconds[few], seconds[many], strict=True)])[1] / 96
    lower["ms a partition beyond its pictures"] = 1e3 * extra
    photographs = REPEATS * len(list(large.iterdir()))
    lines.append(
        f"Two of Ray's workers are {higher['photographs, 2 Ray workers over 1']:.2f} times as fast "
        f"as one on photographs ({photographs:,} of them, with the start of the workers); "
        f"a partition costs {1e3 * extra:.0f} ms beyond its pictures."
    )
    data = scratch / "data"
    draw_faces(data, 6000, labelled=True)
    started = time.monotonic()
    rates = list(compare_trainings(data, scratch, rounds))
    alone, pair = (quartiles(list(values))[1] for values in zip(*rates, strict=True))
    ratio = quartiles([second / first for first, second in rates])[1]
    higher["training, 2 processes over 1 with 2 threads"] = ratio
    lines.append(
        f"Training `baseline`: one process with two threads {alone:,.0f} images a second, two "
        f"processes with one each {pair:,.0f} ({ratio:.2f} times as fast; "
        f"{time.monotonic() - started:.0f} s for {rounds} rounds)."
    )
    return "\n".join(lines), lower, higher


if __name__ == "__main__":
    main()
