"""Measure memory and size: ``python benchmarks/footprint.py [PICTURES…]``.

Reports what `emotion-infer` needs for one picture and for folders of that many links to `samples/`:
memory, time, and the CPU seconds of a thousand faces, for which a battery pays. Then the sizes of
the models, of the wheel, and of the light install, part by part: how much of each part
`emotion-infer` never loads and `scripts/trim_install.py` removes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click
from packaging.requirements import Requirement

import emotion_models
from harness import format_amount, quartiles
from results import ResultOptions, benchmark_command, draw_bars, report_result

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "samples").glob("*.png"))
sys.path.insert(0, str(ROOT / "scripts"))

from trim_install import find_unused  # noqa: E402

STARTS = 5  # of a run over one picture
# The parts of the light install, by the package that brings them. The others are onnxruntime's.
PARTS = {
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "pillow": "Pillow",
    "click": "click",
}
# The parts of emotion-edge, by what a path begins with; the first that fits counts.
OWN_PARTS = {
    "emotion_models/checkpoints/": "checkpoints, to start a training from",
    "emotion_models/": "released models, face detector and cards",
    "emotion_runtime/": "emotion_runtime",
    "emotion_train/": "emotion_train and emotion_export",
    "emotion_export/": "emotion_train and emotion_export",
    "": "metadata and commands of emotion-edge",
}

# Prints the memory after a result, KiB: resident, and of that the part that no file backs.
_RESIDENT = """
import re, sys
from emotion_runtime import EmotionClassifier
EmotionClassifier(sys.argv[1]).predict(sys.argv[2])
with open("/proc/self/status") as file:
    found = dict(re.findall(r"(VmRSS|RssAnon):\\s+(\\d+)", file.read()))
print(found["VmRSS"], found["RssAnon"])
"""


# Runs a command and prints its status and usage. A process of its own, because the peak memory that
# Linux reports for a child is at least that of the process that started it.
_MEASURE = """
import json, os, sys, time
started = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
cpu, wall = usage.ru_utime + usage.ru_stime, time.perf_counter() - started
print(json.dumps([status, usage.ru_maxrss, cpu, wall]))
"""


@dataclass(frozen=True)
class Usage:
    """The memory and the time of a process.

    Attributes:
        peak: Its peak resident memory, MiB.
        cpu: Its CPU seconds.
        wall: Seconds from its start to its end.
    """

    peak: float
    cpu: float
    wall: float


def run_and_measure(command: list[str]) -> Usage:
    """Run a command and return what it used.

    Raises:
        SystemExit: It failed.
    """
    # As on a device: the number of threads of OpenBLAS is the command's own choice.
    unset = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    words = [sys.executable, "-I", "-S", "-c", _MEASURE, *command]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    status, peak, cpu, wall = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{command[0]} failed")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return Usage(peak * unit / 2**20, cpu, wall)


def measure_one_picture(model: str) -> Usage:
    """Return the medians of `emotion-infer` over one picture."""
    command = [str(Path(sys.executable).with_name("emotion-infer")), "-m", model, "-q"]
    usages = [run_and_measure([*command, str(SAMPLES[0])]) for _ in range(STARTS + 1)][1:]
    return Usage(
        *(quartiles([getattr(one, kind) for one in usages])[1] for kind in ("peak", "cpu", "wall"))
    )


def measure_resident(model: str) -> tuple[float, float] | None:
    """Return the memory after the first result, MiB: resident, and not backed by a file.

    Pages of libraries are backed by their files: the system can drop and load them again.

    Returns:
        None on systems without ``/proc``.
    """
    if not Path("/proc/self/status").is_file():
        return None
    command = [sys.executable, "-c", _RESIDENT, model, str(SAMPLES[0])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    resident, anonymous = (int(number) / 1024 for number in output.split())
    return resident, anonymous


def measure_folder(pictures: int, model: str) -> Usage:
    """Return what `emotion-infer` uses over that many links."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(pictures):
            link = Path(folder, f"{number:08}.png")
            link.symlink_to(SAMPLES[number % len(SAMPLES)])
        command = str(Path(sys.executable).with_name("emotion-infer"))
        output = str(Path(folder) / "predictions.jsonl")
        usage = run_and_measure([command, "-m", model, "-q", "-f", "jsonl", "-o", output, folder])
        with open(output, "rb") as file:
            assert sum(1 for _ in file) == pictures
    return usage


def compute_cpu_per_thousand(usages: dict[int, Usage]) -> float | None:
    """Return the CPU seconds of a thousand pictures, without those of the start.

    Args:
        usages: Number of pictures → what the run used.

    Returns:
        None for a single run, whose start cannot be told apart.
    """
    fewest, most = min(usages), max(usages)
    if fewest == most:
        return None
    return 1000 * (usages[most].cpu - usages[fewest].cpu) / (most - fewest)


def measure_installed(package: str) -> dict[str, float]:
    """Return the size of a package and of each package that it requires, MB by name."""
    sizes: dict[str, float] = {}
    required = [package]
    while required:
        name = required.pop().lower().replace("_", "-")
        if name in sizes:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        paths = (Path(str(file.locate())) for file in distribution.files or ())
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                required.append(requirement.name)
    return sizes


def find_own_part(file: str) -> str:
    """Return the part of emotion-edge that a file of its install belongs to."""
    return next(part for start, part in OWN_PARTS.items() if file.startswith(start))


def measure_parts(package: str) -> dict[str, tuple[float, float]]:
    """Return the parts of the light install: MB, and of those what is never loaded.

    Args:
        package: The package whose requirements are measured.

    Raises:
        SystemExit: It is installed editable, so that its own files are not part of the install.
    """
    own = [str(file) for file in metadata.distribution(package).files or ()]
    if not any(file.startswith("emotion_runtime/") for file in own):
        raise SystemExit(f"{package} is installed editable; measure an install by pip install .")
    folder = Path(str(metadata.distribution(package).locate_file(""))).resolve()
    unused = {path for paths in find_unused(folder).values() for path in paths}
    parts: dict[str, list[float]] = {}
    for name in measure_installed(package):
        for file in metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if not path.is_file():
                continue
            if name == package:
                part = find_own_part(str(file))
            else:
                part = PARTS.get(name, "packages that onnxruntime requires")
            size = path.stat().st_size / 1e6
            sums = parts.setdefault(part, [0.0, 0.0])
            sums[0] += size
            if unused.intersection([path.resolve(), *path.resolve().parents]):
                sums[1] += size
    ordered = sorted(parts.items(), key=lambda item: -item[1][0])
    return {part: (size, left_out) for part, (size, left_out) in ordered}


def measure_wheel() -> float | None:
    """Return the size of the wheel in MB; None if it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--wheel-dir", folder, str(ROOT)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return None
        return sum(path.stat().st_size for path in Path(folder).glob("*.whl")) / 1e6


@benchmark_command(__doc__)
@click.argument("pictures", nargs=-1, type=click.IntRange(min=1))
@click.option("--model", default=emotion_models.DEFAULT_MODEL, show_default=True)
@click.option("--no-times", is_flag=True, help="Leave times out, on a machine that is not idle.")
def main(options: ResultOptions, pictures: tuple[int, ...], model: str, no_times: bool) -> None:
    """Print the tables."""
    counts = pictures or (1_000, 10_000, 100_000)
    one, resident = measure_one_picture(model), measure_resident(model)
    usages = {count: measure_folder(count, model) for count in counts}
    peaks = {count: usage.peak for count, usage in usages.items()}
    lower = {
        "peak memory, one picture, MiB": one.peak,
        **{f"peak memory, {count:,} pictures, MiB": peak for count, peak in peaks.items()},
    }
    lines = [
        "| one picture | |" if no_times else "| one picture, with the start | |",
        "| --- | ---: |",
        f"| peak memory | {one.peak:.1f} MiB |",
    ]
    if resident is not None:
        lower["resident after the first result, MiB"], lower["not backed by a file, MiB"] = resident
        lines += [
            f"| resident after the first result | {resident[0]:.1f} MiB |",
            f"| of that not backed by a file | {resident[1]:.1f} MiB |",
        ]
    if not no_times:
        lower["CPU seconds, one picture"] = one.cpu
        lines += [
            f"| from start to end | {1000 * one.wall:.0f} ms |",
            f"| CPU time | {1000 * one.cpu:.0f} ms |",
        ]
        if (cpu := compute_cpu_per_thousand(usages)) is not None:
            lower["CPU seconds, a thousand pictures more"] = cpu
            lines.append(f"| CPU time of a thousand pictures more | {1000 * cpu:.0f} ms |")
    first = peaks[counts[0]]
    lines += [
        "",
        f"| pictures | peak memory, MiB | × {counts[0]:,} |",
        "| ---: | ---: | ---: |",
    ]
    lines += [f"| {count:,} | {peak:.1f} | {peak / first:.3f} |" for count, peak in peaks.items()]
    sizes = {
        f"model {name}": emotion_models.model_path(name).stat().st_size / 1e6
        for name in emotion_models.names()
    }
    if (wheel := measure_wheel()) is not None:
        sizes["the wheel, all models in it"] = wheel
    parts = measure_parts("emotion-edge")
    total, never = (sum(values) for values in zip(*parts.values(), strict=True))
    sizes["light install, with all that it needs"] = total
    sizes["light install, trimmed"] = total - never
    if torch := measure_installed("torch"):
        sizes["PyTorch, with all that it needs"] = sum(torch.values())
    lines += ["", "| on the disk | MB |", "| --- | ---: |"]
    lines += [f"| {name} | {format_amount(size)} |" for name, size in sizes.items()]
    lines += ["", "| part of the light install | MB | trimmed |", "| --- | ---: | ---: |"]
    lines += [
        f"| {part} | {format_amount(size)} | {format_amount(size - unused)} |"
        for part, (size, unused) in parts.items()
    ]
    report_result(
        options,
        "footprint",
        "\n".join(lines),
        lower=lower | {f"{name}, MB": size for name, size in sizes.items()},
        draw=lambda figure: draw_bars(
            figure, {f"{count:,} pictures": peak for count, peak in peaks.items()}, "peak, MiB"
        ),
    )


if __name__ == "__main__":
    main()
