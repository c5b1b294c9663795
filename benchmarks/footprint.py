"""Measure memory and size: ``python benchmarks/footprint.py [--pictures 1000 100000]``.

`emotion-infer` runs over folders of links to `samples/`, and the peak of its resident memory is
read from the system when it has ended. Beside it: what the models, the wheel and the installed
packages weigh, and what PyTorch would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import emotion_models
from harness import amount
from results import draw_bars, finish, options

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "samples").glob("*.png"))


def peak_memory(pictures: int, model: str) -> float:
    """Run `emotion-infer` over that many links; return its peak in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(pictures):
            link = Path(folder, f"{number:08}.png")
            link.symlink_to(SAMPLES[number % len(SAMPLES)])
        command = str(Path(sys.executable).with_name("emotion-infer"))
        output = str(Path(folder) / "answers.jsonl")
        process = subprocess.Popen(
            [command, "-m", model, "-q", "-f", "jsonl", "-o", output, folder]
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit("emotion-infer failed")
        with open(output, "rb") as file:
            assert sum(1 for _ in file) == pictures
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return usage.ru_maxrss * unit / 2**20


def installed_megabytes(package: str) -> dict[str, float]:
    """Add up the files of a package and of all that it needs; MB by name."""
    weights: dict[str, float] = {}
    wanted = [package]
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in weights:
            continue
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        sizes = (Path(str(file.locate())) for file in found.files or ())
        weights[name] = sum(path.stat().st_size for path in sizes if path.is_file()) / 1e6
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return weights


def wheel_megabytes() -> float | None:
    """Build the wheel and weigh it; None where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--wheel-dir", folder, str(ROOT)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return None
        return sum(path.stat().st_size for path in Path(folder).glob("*.whl")) / 1e6


def main() -> None:
    """Print the tables."""
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--model", default=emotion_models.DEFAULT_MODEL)
    chosen = parser.parse_args()
    peaks = {count: peak_memory(count, chosen.model) for count in chosen.pictures}
    first = peaks[chosen.pictures[0]]
    lines = [
        f"| pictures | peak memory, MiB | × {chosen.pictures[0]:,} |",
        "| ---: | ---: | ---: |",
    ]
    lines += [f"| {count:,} | {peak:.1f} | {peak / first:.3f} |" for count, peak in peaks.items()]
    sizes = {
        name: emotion_models.model_path(name).stat().st_size for name in emotion_models.names()
    }
    weights = {f"model {name}": size / 1e6 for name, size in sizes.items()}
    if (wheel := wheel_megabytes()) is not None:
        weights["the wheel, all models in it"] = wheel
    light = installed_megabytes("emotion-edge")
    weights["light install, with all that it needs"] = sum(light.values())
    if torch := installed_megabytes("torch"):
        weights["PyTorch, with all that it needs"] = sum(torch.values())
    lines += ["", "| on the disk | MB |", "| --- | ---: |"]
    lines += [f"| {name} | {amount(size)} |" for name, size in weights.items()]
    largest = sorted(light.items(), key=lambda item: -item[1])[:4]
    parts = ", ".join(f"{name} {amount(size)} MB" for name, size in largest)
    lines += ["", f"The light install is mostly {parts}."]
    finish(
        chosen,
        "footprint",
        "\n".join(lines),
        lower={f"peak memory, {count:,} pictures, MiB": peak for count, peak in peaks.items()}
        | {f"{name}, MB": size for name, size in weights.items()},
        draw=lambda figure: draw_bars(
            figure, {f"{count:,} pictures": peak for count, peak in peaks.items()}, "peak, MiB"
        ),
    )


if __name__ == "__main__":
    main()
