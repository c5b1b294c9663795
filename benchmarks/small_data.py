"""Measure the defaults of the training with few pictures: ``python benchmarks/small_data.py DATA``.

DATA is FER2013. Trains on fixed subsets of its training folder, and evaluates on other faces of
that folder; the test set is not read. Each trial is a process with one thread. Its time is the CPU
time from the start of Python to the end of the report, which other load changes little.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import click


@dataclass(frozen=True)
class Case:
    """A subset to train on.

    Attributes:
        classes: The folders of the training set.
        pictures: Number of pictures of each class, including those for validation.
        others: Number of other pictures of each class, for the evaluation.
        seconds: Limit on the CPU time; None for no limit.
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


@click.command(help=__doc__.partition("\n\n")[0])
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--case", "cases", type=click.Choice(list(CASES)), multiple=True, help="Only this case."
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--trial", type=int, metavar="SEED", help="Run one trial in this process.")
@click.option("--precision", default="auto", show_default=True, help="As in emotion-train.")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder for the runs."
)
def main(
    data: Path,
    cases: tuple[str, ...],
    seeds: int,
    trial: int | None,
    precision: str,
    keep: Path | None,
) -> None:
    """Run all trials, and print a table."""
    cases = cases or tuple(CASES)
    if trial is not None:
        run_trial(data, CASES[cases[0]], trial, precision, keep)
        return
    print("| pictures | accuracy by seed | mean | epochs | CPU seconds |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in cases:
        command = [sys.executable, __file__, str(data), "--case", name, "--precision", precision]
        if keep is not None:
            command += ["--keep", str(keep)]
        results = []
        for seed in range(seeds):
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


def run_trial(data: Path, case: Case, seed: int, precision: str, keep: Path | None) -> None:
    """Train on one draw of a case; print accuracy, epochs and CPU seconds."""
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
        pixels, labels = draw_pictures(data, case, seed, folder / "data")
        drawing = time.process_time() - before  # not a part of the training's time
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
        recipe = Recipe(
            network=choose_network("cpu"), classes=case.classes, seed=seed, precision=precision
        )
        run.train(recipe, choose=PLANNED)
        seconds = time.process_time() - drawing
        checkpoint = load_checkpoint(folder / "run")
        predicted = predict_logits(checkpoint.build(), pixels).argmax(axis=1)
        if keep is not None:
            shutil.copytree(folder / "run", keep / f"{case.pictures}-{seed}", dirs_exist_ok=True)
    print(float((predicted == labels).mean()), checkpoint.training["epochs"], seconds)


def draw_pictures(data: Path, case: Case, seed: int, folder: Path):  # type: ignore[no-untyped-def]
    """Copy the training pictures of a draw, and read the other ones.

    Returns:
        The pixels of the others, uint8 (n, 48, 48), and their labels, int64 (n,). None of them is
        identical to a training picture.
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
        read = [face for face, _ in zip(others, range(case.others), strict=False)]
        faces += read
        labels += [label] * len(read)
    return np.stack(faces).reshape(-1, 48, 48), np.array(labels)


if __name__ == "__main__":
    main()
