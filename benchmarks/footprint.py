"""Measure memory and size: ``python benchmarks/footprint.py [--pictures 1000 100000]``.

`emotion-infer` runs over folders of links to `samples/`, and the peak of its resident memory is
read from the system when it has ended. Beside it: what the released models weigh.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import report

import emotion_models

SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.png"))


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


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--model", default=emotion_models.DEFAULT_MODEL)
    options = parser.parse_args()
    peaks = {count: peak_memory(count, options.model) for count in options.pictures}
    first = peaks[options.pictures[0]]
    lines = [
        f"| pictures | peak memory, MiB | × {options.pictures[0]:,} |",
        "| ---: | ---: | ---: |",
    ]
    lines += [f"| {count:,} | {peak:.1f} | {peak / first:.3f} |" for count, peak in peaks.items()]
    sizes = {
        name: emotion_models.model_path(name).stat().st_size for name in emotion_models.names()
    }
    lines += ["", "| model | MB |", "| --- | ---: |"]
    lines += [f"| {name} | {size / 1e6:.2f} |" for name, size in sizes.items()]
    report("footprint", "\n".join(lines), {"peak_mib": peaks, "model_bytes": sizes})


if __name__ == "__main__":
    main()
