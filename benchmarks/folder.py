"""Time a whole folder: ``python benchmarks/folder.py [FOLDER…] [--model NAME]``.

What `emotion-infer` does, from the names of the pictures to the lines of its output, beside its
limit (decoding alone on all CPUs), what one would write in its place (a plain loop over the
reference network), and a ready-made package (`peer_fer.py`). Then each stage by itself. Without a
folder, copies of `samples/` are used.
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

import numpy as np
from PIL import Image

import emotion_models
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.infer.job import Job
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures import jpeg
from emotion_runtime.pictures.sources import find_pictures
from harness import Seconds, amount, medians, ratios, table, take_turns
from results import draw_bars, finish, options

SAMPLES = Path(__file__).parent.parent / "samples"
FAST = jpeg.simplejpeg
BATCH = 32


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


def plain_loop(session: Any, paths: list[str]) -> None:
    """Do what a first script does: open, resize, run, one after the other."""
    for path in paths:
        with Image.open(path) as image:
            pixels = np.array(image.convert("L").resize((48, 48)))
        session.run(None, {"pixels": pixels[None, None]})


class Peer:
    """A process in another environment that classifies all pictures each time it is asked."""

    def __init__(self, python: str, paths: list[str]) -> None:
        script = Path(__file__).with_name("peer_fer.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [python, str(script)], text=True, stderr=subprocess.DEVNULL, env=quiet, **pipes
        )
        self._ask(json.dumps([str(Path(path).resolve()) for path in paths]))
        self.labels: list[str] = []

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __call__(self) -> None:
        """Wait for one round; its labels are in `labels` then."""
        self._ask("go")
        assert self._process.stdout is not None
        if not (answer := self._process.stdout.readline()):
            raise SystemExit("the peer's process ended; see benchmarks/peer_fer.py")
        self.labels = json.loads(answer)


def stages(classifier: EmotionClassifier, folders: tuple[str, ...], rounds: int) -> Seconds:
    """Time each stage by itself, in one thread."""
    jpeg.simplejpeg = None
    paths = list(find_pictures(folders))
    data = [Path(path).read_bytes() for path in paths]
    faces = np.stack([read_face(one) for one in data])
    batches = [faces[start : start + BATCH] for start in range(0, len(faces), BATCH)]
    rows = np.concatenate([classifier.infer(batch)[1] for batch in batches])

    def write() -> None:
        for path, row in zip(paths, rows, strict=True):
            json.dumps(classifier.interpret(row, path).to_dict())

    cases: dict[str, Callable[[], object]] = {
        "scan the folder": lambda: list(find_pictures(folders)),
        "read the bytes": lambda: [Path(path).read_bytes() for path in paths],
        "decode, gray, resize (Pillow)": lambda: [read_face(one) for one in data],
        f"infer, batches of {BATCH}": lambda: [classifier.infer(batch) for batch in batches],
        "write a JSON line": write,
    }
    return take_turns(cases, rounds=rounds)


@contextlib.contextmanager
def _pictures(folders: list[str]) -> Iterator[tuple[str, ...]]:
    """Give the folders, or a temporary one of 1,920 JPEGs made from the samples."""
    if folders:
        yield tuple(folders)
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


def _accuracy(labels: list[str], paths: list[str]) -> str:
    """Say how often the label is the name of the picture's folder, where folders are classes."""
    right = sum(label == Path(path).parent.name for label, path in zip(labels, paths, strict=True))
    return f"{right / len(paths):.1%}"


def main() -> None:
    """Print both tables, in microseconds a picture."""
    parser = options(__doc__, rounds=7)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--model", default=emotion_models.DEFAULT_MODEL)
    parser.add_argument("--peer", help="Python of an environment with the package fer")
    chosen = parser.parse_args()
    with _pictures(chosen.folders) as folders, ProcessPoolExecutor(count_usable_cpus()) as pool:
        paths = list(find_pictures(folders))
        pool.submit(os.getpid).result()
        model, baseline = EmotionClassifier(chosen.model), emotion_models.model_path("baseline")
        onnxruntime = import_onnxruntime()
        plain = onnxruntime.InferenceSession(baseline, providers=["CPUExecutionProvider"])
        stem = model.model_path.stem
        alone, ours, loop = "decoding alone", f"emotion-infer, {stem}", "plain loop, baseline"
        cases: dict[str, Callable[[], object]] = {
            alone: lambda: decode_alone(pool, paths, fast=False),
            ours: lambda: infer(model, folders, fast=False),
            loop: lambda: plain_loop(plain, paths),
        }
        if FAST is None:
            print("simplejpeg is not installed: pip install '.[fast]'", file=sys.stderr)
        else:
            cases[f"{alone} [fast]"] = lambda: decode_alone(pool, paths, fast=True)
            cases[f"{ours} [fast]"] = lambda: infer(model, folders, fast=True)
        peer = Peer(chosen.peer, paths) if chosen.peer else None
        if peer is None:
            print("no peer: --peer PYTHON, see benchmarks/peer_fer.py", file=sys.stderr)
        else:
            cases["the package fer"] = peer
        seconds = take_turns(cases, rounds=chosen.rounds)
        split = stages(model, folders, chosen.rounds)
        labels = [str(answer.label) for answer in model.predict_many(paths)]
    count = len(paths)
    times = medians(seconds, unit=1e6, count=count)
    faster = {f"{ours}: times as fast as the {loop}": ratios(seconds, loop, ours)[1]}
    text = f"{count:,} pictures, {count_usable_cpus()} CPUs, once started:\n\n"
    text += table(seconds, alone, unit=1e6, heading="µs a picture", count=count)
    text += f"\n\nThe plain loop takes {ratios(seconds, loop, ours)[1]:.1f} times as long as ours"
    if FAST is not None:
        fast = ratios(seconds, ours, f"{ours} [fast]")[1]
        text += f"; [fast] is {fast:.2f} times as fast as without"
        faster["[fast] against without"] = fast
    if peer is not None:
        faster["times as fast as fer"] = ratios(seconds, "the package fer", ours)[1]
        text += (
            f"; the package fer takes {faster['times as fast as fer']:.0f} times as long, and is "
            f"right on {_accuracy(peer.labels, paths)} of these faces, {stem} on "
            f"{_accuracy(labels, paths)}"
        )
    text += ".\n\nEach stage alone, in one thread:\n\n| stage | µs a picture |\n| --- | ---: |\n"
    alone_each = medians(split, unit=1e6, count=count)
    text += "\n".join(f"| {name} | {amount(value)} |" for name, value in alone_each.items())
    text += f"\n| sum | {amount(sum(alone_each.values()))} |"
    finish(
        chosen,
        "folder",
        text,
        lower={f"{name}, µs a picture": value for name, value in times.items()},
        higher=faster,
        details={"pictures": count, "model": stem},
        draw=lambda figure: draw_bars(figure, times, "µs a picture"),
    )


if __name__ == "__main__":
    main()
