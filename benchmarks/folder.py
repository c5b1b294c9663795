"""Time a whole folder: ``python benchmarks/folder.py [FOLDER…] [--model NAME]``.

Compares `emotion-infer`, from the names of the pictures to the lines of its output, with decoding
alone on all CPUs, with a plain loop over the reference network, and with another package
(`peer_fer.py`). A second table has the time of each stage. Without a folder, copies of `samples/`
are used.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

import emotion_models
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.infer.job import Job
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures import jpeg
from emotion_runtime.pictures.sources import find_pictures
from harness import Seconds, format_amount, format_table, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result

SAMPLES = Path(__file__).parent.parent / "samples"
SIMPLEJPEG = jpeg.simplejpeg
BATCH_SIZE = 32


def _decode(paths: list[str], fast: bool) -> None:
    jpeg.simplejpeg = SIMPLEJPEG if fast else None
    for path in paths:
        read_face(path)


def decode_all(pool: ProcessPoolExecutor, paths: list[str], *, fast: bool) -> None:
    """Read every face in as many processes as there are CPUs, and discard it."""
    parts = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    for done in [pool.submit(_decode, part, fast) for part in parts]:
        done.result()


def infer(classifier: EmotionClassifier, folders: tuple[str, ...], *, fast: bool) -> None:
    """Do the same as ``emotion-infer -f jsonl FOLDER > file`` after its start."""
    jpeg.simplejpeg = SIMPLEJPEG if fast else None
    with contextlib.redirect_stdout(io.StringIO()):
        job = Job(classifier, folders, lambda _: None, format_name="jsonl", quiet=True)
        # Worker processes would use simplejpeg wherever it is installed.
        job.can_start_processes = fast or SIMPLEJPEG is None
        job.run()


def run_plain_loop(session: Any, paths: list[str]) -> None:
    """Open, resize and classify one picture after the other, as a first script would."""
    for path in paths:
        with Image.open(path) as image:
            pixels = np.array(image.convert("L").resize((48, 48)))
        session.run(None, {"pixels": pixels[None, None]})


class Peer:
    """A process of another environment that classifies all pictures in each round."""

    def __init__(self, python: str, paths: list[str]) -> None:
        script = Path(__file__).with_name("peer_fer.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [python, str(script)], text=True, stderr=subprocess.DEVNULL, env=quiet, **pipes
        )
        self._send(json.dumps([str(Path(path).resolve()) for path in paths]))
        self.labels: list[str] = []

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __call__(self) -> None:
        """Run one round and keep its labels in `labels`."""
        self._send("go")
        assert self._process.stdout is not None
        if not (reply := self._process.stdout.readline()):
            raise SystemExit("the process of the other package ended; see benchmarks/peer_fer.py")
        self.labels = json.loads(reply)


def time_stages(classifier: EmotionClassifier, folders: tuple[str, ...], rounds: int) -> Seconds:
    """Time each stage alone, in one thread."""
    jpeg.simplejpeg = None
    paths = list(find_pictures(folders))
    files = [Path(path).read_bytes() for path in paths]
    faces = np.stack([read_face(file) for file in files])
    batches = [faces[start : start + BATCH_SIZE] for start in range(0, len(faces), BATCH_SIZE)]
    outputs = classifier.compute(faces)

    def write() -> None:
        for prediction in classifier.interpret_all(outputs, paths):
            json.dumps(prediction.to_dict())

    cases: dict[str, Callable[[], object]] = {
        "scan the folder": lambda: list(find_pictures(folders)),
        "read the bytes": lambda: [Path(path).read_bytes() for path in paths],
        "decode, gray, resize (Pillow)": lambda: [read_face(file) for file in files],
        f"infer, batches of {BATCH_SIZE}": lambda: [classifier.infer(batch) for batch in batches],
        "write a JSON line": write,
    }
    return take_turns(cases, rounds=rounds)


@contextlib.contextmanager
def _open_folders(folders: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the folders, or a temporary one with 1,920 JPEGs made from the samples."""
    if folders:
        yield folders
        return
    with tempfile.TemporaryDirectory() as temporary:
        for sample in sorted(SAMPLES.glob("*.png")):
            label = Path(temporary) / sample.stem.split("_")[0]
            label.mkdir(exist_ok=True)
            first = label / f"{sample.stem}_0.jpg"
            with Image.open(sample) as image:
                image.save(first, quality=90)
            for copy in range(1, 64):
                shutil.copy(first, first.with_name(f"{sample.stem}_{copy}.jpg"))
        yield (temporary,)


def _format_accuracy(labels: list[str], paths: list[str]) -> str:
    """Return the share of pictures whose label is the name of their folder, as text."""
    right = sum(label == Path(path).parent.name for label, path in zip(labels, paths, strict=True))
    return f"{right / len(paths):.1%}"


@benchmark_command(__doc__, rounds=7)
@click.argument("folders", nargs=-1)
@click.option("--model", default=emotion_models.DEFAULT_MODEL, show_default=True)
@click.option("--peer", help="The Python of an environment with the package fer.")
def main(
    options: ResultOptions, folders: tuple[str, ...], model: str, peer: str | None, rounds: int
) -> None:
    """Print both tables, in microseconds a picture."""
    with _open_folders(folders) as opened, ProcessPoolExecutor(count_usable_cpus()) as pool:
        paths = list(find_pictures(opened))
        pool.submit(os.getpid).result()  # the processes start before the timing
        classifier, baseline = EmotionClassifier(model), emotion_models.model_path("baseline")
        onnxruntime = import_onnxruntime()
        session = onnxruntime.InferenceSession(baseline, providers=["CPUExecutionProvider"])
        stem = classifier.model_path.stem
        alone, ours, loop = "decoding alone", f"emotion-infer, {stem}", "plain loop, baseline"
        cases: dict[str, Callable[[], object]] = {
            alone: lambda: decode_all(pool, paths, fast=False),
            ours: lambda: infer(classifier, opened, fast=False),
            loop: lambda: run_plain_loop(session, paths),
        }
        if SIMPLEJPEG is None:
            print("simplejpeg is not installed: pip install '.[fast]'", file=sys.stderr)
        else:
            cases[f"{alone} [fast]"] = lambda: decode_all(pool, paths, fast=True)
            cases[f"{ours} [fast]"] = lambda: infer(classifier, opened, fast=True)
        other = Peer(peer, paths) if peer else None
        if other is None:
            print("the package fer is left out: see benchmarks/peer_fer.py", file=sys.stderr)
        else:
            cases["the package fer"] = other
        seconds = take_turns(cases, rounds=rounds)
        stages = time_stages(classifier, opened, rounds)
        # Every face shows one of the labels, and the other package has no `other`.
        rows = [one.probabilities or {"": 0.0} for one in classifier.predict_many(paths)]
        labels = [max(row, key=row.__getitem__) for row in rows]
    count = len(paths)
    times = medians(seconds, unit=1e6, count=count)
    faster = {f"{ours}: times as fast as the {loop}": ratios(seconds, loop, ours)[1]}
    text = f"{count:,} pictures, {count_usable_cpus()} CPUs, once started:\n\n"
    text += format_table(seconds, alone, unit=1e6, heading="µs a picture", count=count)
    text += f"\n\nThe plain loop takes {ratios(seconds, loop, ours)[1]:.1f} times as long as ours"
    if SIMPLEJPEG is not None:
        fast = ratios(seconds, ours, f"{ours} [fast]")[1]
        text += f"; [fast] is {fast:.2f} times as fast as without"
        faster["[fast] against without"] = fast
    if other is not None:
        faster["times as fast as fer"] = ratios(seconds, "the package fer", ours)[1]
        text += (
            f"; the package fer takes {faster['times as fast as fer']:.0f} times as long, and is "
            f"right on {_format_accuracy(other.labels, paths)} of these faces, {stem} on "
            f"{_format_accuracy(labels, paths)}"
        )
    text += ".\n\nEach stage alone, in one thread:\n\n| stage | µs a picture |\n| --- | ---: |\n"
    stage_times = medians(stages, unit=1e6, count=count)
    text += "\n".join(f"| {name} | {format_amount(value)} |" for name, value in stage_times.items())
    text += f"\n| sum | {format_amount(sum(stage_times.values()))} |"
    report_result(
        options,
        "folder",
        text,
        lower={f"{name}, µs a picture": value for name, value in times.items()},
        higher=faster,
        details={"pictures": count, "model": stem},
        draw=lambda figure: draw_bars(figure, times, "µs a picture"),
    )


if __name__ == "__main__":
    main()
