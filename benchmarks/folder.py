"""Time a whole folder: ``python benchmarks/folder.py [FOLDER…] [--model NAME]``.

What `emotion-infer` does, from the names of the pictures to the lines of its output, beside its
limit (decoding alone on all CPUs) and what one would write in its place (a plain loop over the
reference network). Without a folder, copies of `samples/` are used.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from harness import ratios, report, table, take_turns
from PIL import Image

import emotion_models
from emotion_runtime import EmotionClassifier, jpeg, read_face
from emotion_runtime.cpus import usable_cpus
from emotion_runtime.job import Job
from emotion_runtime.sources import find_pictures

SAMPLES = Path(__file__).parent.parent / "samples"
FAST = jpeg.simplejpeg


def _decode(paths: list[str], fast: bool) -> None:
    jpeg.simplejpeg = FAST if fast else None
    for path in paths:
        read_face(path)


def decode_alone(pool: ProcessPoolExecutor, paths: list[str], *, fast: bool) -> None:
    """Read every face, and do nothing with it, in as many processes as there are CPUs."""
    parts = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    for done in [pool.submit(_decode, part, fast) for part in parts]:
        done.result()


def infer(classifier: EmotionClassifier, folders: tuple[str, ...], *, fast: bool) -> None:
    """Do what ``emotion-infer -f jsonl FOLDER > file`` does once it has started."""
    jpeg.simplejpeg = FAST if fast else None
    with contextlib.redirect_stdout(io.StringIO()):
        Job(classifier, folders, lambda _: None, format_name="jsonl", quiet=True).run()


def plain_loop(session: onnxruntime.InferenceSession, paths: list[str]) -> None:
    """Do what a first script does: open, resize, run, one after the other."""
    for path in paths:
        with Image.open(path) as image:
            pixels = np.array(image.convert("L").resize((48, 48)))
        session.run(None, {"pixels": pixels[None, None]})


@contextlib.contextmanager
def _pictures(folders: list[str]) -> Iterator[tuple[str, ...]]:
    """Give the folders, or a temporary one of 1,920 JPEGs made from the samples."""
    if folders:
        yield tuple(folders)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for sample in sorted(SAMPLES.glob("*.png")):
            first = Path(temporary) / f"{sample.stem}_0.jpg"
            with Image.open(sample) as image:
                image.save(first, quality=90)
            for copy in range(1, 64):
                shutil.copy(first, first.with_name(f"{sample.stem}_{copy}.jpg"))
        yield (temporary,)


def main() -> None:
    """Print a table of microseconds a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--model", default=emotion_models.DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with _pictures(options.folders) as folders, ProcessPoolExecutor(usable_cpus()) as pool:
        paths = list(find_pictures(folders))
        pool.submit(os.getpid).result()
        model, baseline = EmotionClassifier(options.model), emotion_models.model_path("baseline")
        plain = onnxruntime.InferenceSession(baseline, providers=["CPUExecutionProvider"])
        stem = model.model_path.stem
        cases: dict[str, Callable[[], object]] = {
            "decoding alone": lambda: decode_alone(pool, paths, fast=False),
            f"emotion-infer, {stem}": lambda: infer(model, folders, fast=False),
            "plain loop, baseline": lambda: plain_loop(plain, paths),
        }
        if FAST is None:
            print("simplejpeg is not installed: pip install 'emotion-edge[fast]'", file=sys.stderr)
        else:
            cases["decoding alone [fast]"] = lambda: decode_alone(pool, paths, fast=True)
            cases[f"emotion-infer, {stem} [fast]"] = lambda: infer(model, folders, fast=True)
        seconds = take_turns(cases, rounds=options.rounds)
    names = list(cases)
    text = f"{len(paths):,} pictures, one after the start\n\n"
    text += table(seconds, names[0], unit=1e6, heading="µs a picture", count=len(paths))
    text += f"\n\nThe plain loop takes {ratios(seconds, names[2], names[1])[1]:.1f} times as long."
    if FAST is not None:
        text += (
            f"\nWith [fast]: {ratios(seconds, names[1], names[4])[1]:.2f} times as fast as without,"
            f" {ratios(seconds, names[4], names[3])[1]:.2f} times decoding alone."
        )
    report("folder", text, {"pictures": len(paths), "model": stem, "seconds": seconds})


if __name__ == "__main__":
    main()
