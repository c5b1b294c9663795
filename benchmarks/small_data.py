"""Measure what the defaults learn from few pictures: ``python benchmarks/small_data.py FER2013``.

Trains on fixed subsets of FER2013's training folder, and measures on other faces of it; the test
set is not read. Each trial is a process of its own, on one thread. Its time is counted in seconds
of the CPU, from the start of Python to the end of the report, so that a busy machine changes
nothing but the wait.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean


@dataclass(frozen=True)
class Case:
    """A subset to train on.

    Attributes:
        classes: Folders of the training set.
        pictures: Of each class, those of validation included.
        others: Other pictures of each class, which the result is measured on.
        seconds: Of the CPU; None for what the defaults take.
    """

    classes: tuple[str, ...]
    pictures: int
    others: int
    seconds: float | None


CASES = {
    "2,000 a class": Case(("happy", "sad", "surprise"), 2_000, 1_100, 100.0),
    "200 a class": Case(("happy", "sad"), 200, 1_100, None),
    "60 a class": Case(("happy", "sad"), 60, 1_100, None),
}


def main() -> None:
    """Run all trials, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--case", choices=CASES, action="append", help="this case alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trial", type=int, metavar="SEED", help="one trial, in this process")
    parser.add_argument("--keep", type=Path, help="folder for the runs of the trials")
    chosen = parser.parse_args()
    cases = chosen.case or list(CASES)
    if chosen.trial is not None:
        run_trial(chosen.data, CASES[cases[0]], chosen.trial, chosen.keep)
        return
    print("| pictures | accuracy by seed | mean | epochs | CPU seconds |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in cases:
        command = [sys.executable, __file__, str(chosen.data), "--case", name]
        if chosen.keep:
            command += ["--keep", str(chosen.keep)]
        results = []
        for seed in range(chosen.seeds):
            done = subprocess.run(
                [*command, "--trial", str(seed)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            results.append([float(one) for one in done.stdout.split()])
        accuracies, epochs, seconds = zip(*results, strict=True)
        each = ", ".join(f"{100 * one:.1f}" for one in accuracies)
        print(
            f"| {name} | {each} | {100 * mean(accuracies):.1f} % | {mean(epochs):.0f} | "
            f"{mean(seconds):.0f} |",
            flush=True,
        )


def run_trial(data: Path, case: Case, seed: int, keep: Path | None) -> None:
    """Train on one draw of a case; print accuracy, epochs and seconds of the CPU."""
    import torch

    from emotion_train.checkpoints.checkpoint import load_checkpoint
    from emotion_train.evaluation import predict_logits
    from emotion_train.recipe import Recipe
    from emotion_train.run import Run
    from emotion_train.training.distributed import TrainingProcess
    from emotion_train.training.planning import PLANNED, choose_network
    from emotion_train.training.time_budget import TimeBudget

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        before = time.process_time()
        folder = Path(temporary)
        pixels, labels = draw(data, case, seed, folder / "data")
        drawing = time.process_time() - before  # is none of the training's time
        budget = None
        if case.seconds is not None:
            budget = TimeBudget(case.seconds / 60, time.process_time, drawing)
        run = Run(
            folder / "data",
            folder / "run",
            TrainingProcess(),
            say=lambda text: print(text, file=sys.stderr),
            show=lambda _: None,
            threads=1,
            budget=budget,
            progress=False,
        )
        recipe = Recipe(network=choose_network("cpu"), classes=case.classes, seed=seed)
        run.train(recipe, choose=PLANNED)
        seconds = time.process_time() - drawing
        checkpoint = load_checkpoint(folder / "run")
        predicted = predict_logits(checkpoint.build(), pixels).argmax(axis=1)
        if keep is not None:
            shutil.copytree(folder / "run", keep / f"{case.pictures}-{seed}", dirs_exist_ok=True)
    print(float((predicted == labels).mean()), checkpoint.training["epochs"], seconds)


def draw(data: Path, case: Case, seed: int, folder: Path):  # type: ignore[no-untyped-def]
    """Copy the training pictures of a draw, and read the others.

    Returns:
        The pixels of the others, uint8 (n, 48, 48), and their labels, int64 (n,). None of them is
        identical with a training picture.
    """
    import numpy as np

    from emotion_runtime.pictures.preprocessing import read_face

    rng = np.random.default_rng(seed)
    learned: set[bytes] = set()
    remaining = []
    for label, name in enumerate(case.classes):
        paths = sorted((data / "train" / name).iterdir())
        order = [paths[index] for index in rng.permutation(len(paths))]
        (folder / "train" / name).mkdir(parents=True)
        for path in order[: case.pictures]:
            shutil.copyfile(path, folder / "train" / name / path.name)
            learned.add(read_face(path).tobytes())
        remaining.append((label, order[case.pictures :]))
    faces, labels = [], []
    for label, paths in remaining:
        others = (face for face in map(read_face, paths) if face.tobytes() not in learned)
        chosen = [face for face, _ in zip(others, range(case.others), strict=False)]
        faces += chosen
        labels += [label] * len(chosen)
    return np.stack(faces).reshape(-1, 48, 48), np.array(labels)


if __name__ == "__main__":
    main()
