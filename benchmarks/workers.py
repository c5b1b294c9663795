"""Measure worker processes: ``python benchmarks/workers.py FOLDER [--model NAME]``.

Runs `emotion-infer` on one core and on all of them, over at least 15,000 and 100,000 small pictures
(FOLDER is named repeatedly). As many separate runs at once, each over all pictures, show what
the cores themselves gain, since two threads of one physical core share its arithmetic. From the CPU
time of the parent, which no worker can share, the speed of 8 and 32 cores is projected. Then the
memory of all processes together is measured at two numbers of pictures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.infer.blocks import BlockFunction
from emotion_runtime.pictures.sources import find_pictures
from emotion_runtime.processes import map_in_processes
from harness import Seconds, format_amount, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result

ONE_CORE, SEPARATE = "1 core", "separate runs at once"
LEAST_PICTURES = (15_000, 100_000)
MEMORY_PICTURES = (1_000, 100_000)
PROJECTED_CORES = (8, 32)
_SAMPLE_SECONDS = 0.05  # between two looks at the memory

# A run whose pictures are all classified by worker processes, whatever their number.
_MEMORY_SCRIPT = """
import itertools, sys
from emotion_runtime import EmotionClassifier
from emotion_runtime.pictures.sources import find_pictures

if __name__ == "__main__":
    model, folder, count, processes = sys.argv[1:]
    pictures = (path for _ in itertools.count() for path in find_pictures([folder]))
    stream = EmotionClassifier(model).predict_many(
        itertools.islice(pictures, int(count)), processes=int(processes)
    )
    print(sum(1 for _ in stream))
"""


def make_run(folders: list[str], model: str, workers: int, out: Path) -> Callable[[], object]:
    """Return a function that runs the command with a number of workers."""
    command = _make_command(folders, model, workers, out)
    return lambda: subprocess.run(command, check=True)


def make_separate_runs(
    folders: list[str], model: str, count: int, out: Path
) -> Callable[[], object]:
    """Return a function that starts `count` runs of one core each and waits for all of them."""
    outputs = [out / f"separate-{place}.jsonl" for place in range(count)]

    def run() -> None:
        started = [subprocess.Popen(_make_command(folders, model, 1, path)) for path in outputs]
        codes = [one.wait() for one in started]
        if any(codes):
            raise SystemExit("a separate run failed")

    return run


def _make_command(folders: list[str], model: str, workers: int, out: Path) -> list[str]:
    command = [sys.executable, "-m", "emotion_runtime", "-m", model, "-q", "-j", str(workers)]
    return [*command, "-f", "jsonl", "-o", str(out), *folders]


def measure_serial_part(model: str, folders: list[str], processes: int) -> tuple[float, float]:
    """Return the CPU seconds of the parent, and those of its workers."""
    classifier = EmotionClassifier(model)
    function = BlockFunction(classifier, "jsonl", keep_predictions=False, strict=False)
    before, own = _measure_children(), time.process_time()
    with open(os.devnull, "w", encoding="utf-8") as out:
        for block in map_in_processes(
            function, find_pictures(folders), batch_size=32, processes=processes
        ):
            out.write(block.text)
    return time.process_time() - own, _measure_children() - before


def _measure_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def project_speed(serial_share: float, cores: int) -> float:
    """Return how many times as fast as one core `cores` are, by Amdahl's law.

    It is a lower bound: here the serial part does not wait for the parallel one, nor that for it.
    """
    return 1 / (serial_share + (1 - serial_share) / cores)


def measure_memory(model: str, folder: str, pictures: int, processes: int) -> float:
    """Return the most memory that all processes of a run have together, in MiB.

    Pages that processes share count once (the proportional set size of Linux).
    """
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "run.py"
        script.write_text(_MEMORY_SCRIPT)
        arguments = [sys.executable, str(script), model, folder, str(pictures), str(processes)]
        run = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True)
        peak, ended = 0.0, threading.Event()
        while not ended.wait(_SAMPLE_SECONDS):
            peak = max(peak, _measure_group(run.pid))
            if run.poll() is not None:
                ended.set()
    if run.returncode:
        raise SystemExit("the run whose memory is measured failed")
    return peak


def _measure_group(group: int) -> float:
    """Return the proportional set size of a process group, in MiB."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                for line in (folder / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        except OSError:
            continue  # it has just ended
    return total / 1024


def time_sizes(
    folder: str, model: str, cpus: int, multiples: Sequence[int], rounds: int
) -> dict[int, Seconds]:
    """Time one core, all cores and separate runs, with the folder named so many times.

    Returns:
        Multiple → name of the run → seconds, one value a round.

    Raises:
        SystemExit: The outputs of one core and of all cores differ, or a run failed.
    """
    times: dict[int, Seconds] = {}
    for multiple in multiples:
        folders = [folder] * multiple
        with tempfile.TemporaryDirectory() as scratch:
            one, every = Path(scratch) / "one.jsonl", Path(scratch) / "all.jsonl"
            runs = {ONE_CORE: make_run(folders, model, 1, one)}
            if cpus > 1:
                runs[name_cores(cpus)] = make_run(folders, model, cpus, every)
                runs[SEPARATE] = make_separate_runs(folders, model, cpus, Path(scratch))
            seconds = take_turns(runs, rounds=rounds)
            if cpus > 1 and one.read_bytes() != every.read_bytes():
                raise SystemExit("the outputs of one core and of all cores differ")
        if cpus > 1:
            seconds[SEPARATE] = [each / cpus for each in seconds[SEPARATE]]  # each did all pictures
        times[multiple] = seconds
    return times


def name_cores(count: int) -> str:
    """Return the name of a run on so many cores."""
    return ONE_CORE if count == 1 else f"{count} cores"


@benchmark_command(__doc__, rounds=5)
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--model", default=emotion_models.DEFAULT_MODEL, show_default=True)
@click.option("--memory/--no-memory", default=True, help="Measure the memory too (on Linux).")
def main(options: ResultOptions, folder: str, model: str, memory: bool, rounds: int) -> None:
    """Print the speed of all cores, the serial part, and the memory."""
    count, cpus = sum(1 for _ in find_pictures([folder])), count_usable_cpus()
    multiples = sorted({-(-least // count) for least in LEAST_PICTURES})
    times = time_sizes(folder, model, cpus, multiples, rounds)
    names = list(times[multiples[0]])
    text = f"{model}, µs a picture, with the start of the processes:\n\n"
    text += f"| pictures | {' | '.join(names)} | {' | '.join(f'{n}, ×' for n in names[1:])} |\n"
    text += "| ---: |" + " ---: |" * (2 * len(names) - 1) + "\n"
    lower, higher, bars = {}, {}, {}
    for multiple, seconds in times.items():
        total = count * multiple
        medians_us = medians(seconds, unit=1e6, count=total)
        speeds = {name: ratios(seconds, ONE_CORE, name)[1] for name in names[1:]}
        cells = [*map(format_amount, medians_us.values()), *(f"{s:.2f}" for s in speeds.values())]
        text += f"| {total:,} | {' | '.join(cells)} |\n"
        for name, us in medians_us.items():
            lower[f"{total:,} pictures, {name}, µs a picture"] = us
            bars[f"{total:,}: {name}"] = us
        for name, speed in speeds.items():
            higher[f"{total:,} pictures, {name} against one core"] = speed
    parent, children = measure_serial_part(model, [folder] * multiples[0], cpus)
    serial = lower["serial part"] = parent / (parent + children)
    total = count * multiples[0]
    text += (
        f"\nOf a picture, the parent computes for {format_amount(1e6 * parent / total)} µs and a "
        f"worker for {format_amount(1e6 * children / total)} µs. The serial part is {serial:.1%}"
    )
    for cores in PROJECTED_CORES:
        text += f"; {cores} cores would be {project_speed(serial, cores):.1f} times as fast as one"
    text += ".\n"
    if memory and Path("/proc/self/smaps_rollup").exists():
        few, many = (measure_memory(model, folder, number, cpus) for number in MEMORY_PICTURES)
        lower["memory at 100,000 pictures against 1,000"] = many / few
        text += (
            f"\nAll processes together use {few:.0f} MiB for {MEMORY_PICTURES[0]:,} pictures and "
            f"{many:.0f} MiB for {MEMORY_PICTURES[1]:,}: {many / few:.2f} times as much.\n"
        )
    report_result(
        options,
        "workers",
        text,
        lower=lower,
        higher=higher,
        details={"model": model},
        draw=lambda figure: draw_bars(figure, bars, "µs a picture"),
    )


if __name__ == "__main__":
    main()
