"""Measure memory and size: ``python benchmarks/footprint.py [PICTURES…]``.

Reports the peak of the resident memory of `emotion-infer` over folders of that many links to
`samples/`, and the sizes of the models, of the wheel, and of the installed packages with and
without PyTorch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import click
from packaging.requirements import Requirement

import emotion_models
from harness import format_amount
from results import ResultOptions, benchmark_command, draw_bars, report_result

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "samples").glob("*.png"))


def measure_memory(pictures: int, model: str) -> float:
    """Return the peak memory of `emotion-infer` over that many links, MiB."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(pictures):
            link = Path(folder, f"{number:08}.png")
            link.symlink_to(SAMPLES[number % len(SAMPLES)])
        command = str(Path(sys.executable).with_name("emotion-infer"))
        output = str(Path(folder) / "predictions.jsonl")
        process = subprocess.Popen(
            [command, "-m", model, "-q", "-f", "jsonl", "-o", output, folder]
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit("emotion-infer failed")
        with open(output, "rb") as file:
            assert sum(1 for _ in file) == pictures
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return usage.ru_maxrss * unit / 2**20


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
def main(options: ResultOptions, pictures: tuple[int, ...], model: str) -> None:
    """Print the tables."""
    counts = pictures or (1_000, 10_000, 100_000)
    peaks = {count: measure_memory(count, model) for count in counts}
    first = peaks[counts[0]]
    lines = [
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
    light = measure_installed("emotion-edge")
    sizes["light install, with all that it needs"] = sum(light.values())
    if torch := measure_installed("torch"):
        sizes["PyTorch, with all that it needs"] = sum(torch.values())
    lines += ["", "| on the disk | MB |", "| --- | ---: |"]
    lines += [f"| {name} | {format_amount(size)} |" for name, size in sizes.items()]
    largest = sorted(light.items(), key=lambda item: -item[1])[:4]
    parts = ", ".join(f"{name} {format_amount(size)} MB" for name, size in largest)
    lines += ["", f"The light install is mostly {parts}."]
    report_result(
        options,
        "footprint",
        "\n".join(lines),
        lower={f"peak memory, {count:,} pictures, MiB": peak for count, peak in peaks.items()}
        | {f"{name}, MB": size for name, size in sizes.items()},
        draw=lambda figure: draw_bars(
            figure, {f"{count:,} pictures": peak for count, peak in peaks.items()}, "peak, MiB"
        ),
    )


if __name__ == "__main__":
    main()
