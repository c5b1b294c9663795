"""A run from data to report: what ``emotion-train`` does, as a function."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion_runtime import __version__
from emotion_runtime.atomic import replacing
from emotion_runtime.classifier import usable_cpus
from emotion_train.average_faces import average_faces
from emotion_train.checkpoint import BEST, LAST, load_checkpoint
from emotion_train.dataset import Dataset, load_dataset
from emotion_train.distributed import Place
from emotion_train.errors import RunError
from emotion_train.evaluation import fit_temperature, predict_logits
from emotion_train.faces import Faces
from emotion_train.networks.face_network import parameter_count
from emotion_train.recipe import Recipe
from emotion_train.report import Evaluated, class_table, write_report
from emotion_train.training import HISTORY, Trainer
from emotion_train.votes import majority_labels

RUN = "run.json"
REPORT = "report"
_AVERAGES_PER_CLASS = 12


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes, and on what; none of it changes what is learned.

    Attributes:
        data: The data folder or CSV.
        folder: The run folder.
        place: This process among all.
        workers: Loader processes; None picks half of the CPUs, at most eight.
        votes: A votes file for the report.
        say: Takes messages for a person.
        show: Takes results: the table of the classes, the closing figures.
        progress: Show bars on a terminal.
    """

    data: Path
    folder: Path
    place: Place
    say: Callable[[str], None]
    show: Callable[[str], None]
    workers: int | None = None
    votes: Path | None = None
    progress: bool = True

    def train(self, recipe: Recipe, *, resume: bool = False) -> dict[str, Any]:
        """Train by `recipe`, or go on with what the run folder holds, and report.

        Returns:
            The report's figures.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: The run cannot be resumed, or diverged.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        dataset = load_dataset(
            self.data,
            classes=recipe.classes,
            seed=recipe.seed,
            validation_per_class=recipe.validation_per_class,
            holdout=recipe.holdout,
            drop_duplicates=recipe.drop_duplicates,
            progress=self.progress and self.place.is_first,
        )
        if self.place.is_first:
            self._introduce(dataset)
            self._remember(recipe)
        if self.votes is not None and dataset.test is not None:
            majority_labels(self.votes, dataset.test, dataset.classes)  # fail now, not in hours
        workers = min(8, usable_cpus() // 2) if self.workers is None else self.workers
        trainer = Trainer(dataset, recipe, self.place, workers)
        if resume and (self.folder / LAST).exists():
            trainer.restore(load_checkpoint(self.folder / LAST))
            if self.place.is_first:
                self.say(f"resuming after epoch {len(trainer.history)}")
        trainer.train(self.folder, self.say, progress=self.progress)
        if not self.place.is_first:
            return {}
        return self._report(dataset, recipe, trainer)

    def _introduce(self, dataset: Dataset) -> None:
        for line in dataset.skipped[:10]:
            self.say(f"skipped: {line}")
        if len(dataset.skipped) > 10:
            self.say(f"skipped: {len(dataset.skipped) - 10:,} more")
        self.show(class_table(dataset))
        self.show(str(dataset.audit))
        if dataset.skipped:
            self.show(f"skipped: {len(dataset.skipped):,} pictures could not be read")

    def _remember(self, recipe: Recipe) -> None:
        """Write down what the run was begun with; paths stay here, outside the checkpoint."""
        values = {"data": str(self.data.absolute()), "recipe": recipe.to_dict()}
        with replacing(self.folder / RUN) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _report(self, dataset: Dataset, recipe: Recipe, trainer: Trainer) -> dict[str, Any]:
        """Calibrate the chosen epoch, measure it, and complete ``best.pt`` with the figures."""
        best = load_checkpoint(self.folder / BEST)
        network = best.build().to(self.place.device)
        held_out = [dataset.validation, *([dataset.holdout] if len(dataset.holdout) else [])]
        logits = [predict_logits(network, faces.pixels) for faces in held_out]
        temperature = fit_temperature(
            np.concatenate(logits), np.concatenate([faces.labels for faces in held_out])
        )
        evaluated = [
            Evaluated(name, faces, part)
            for name, faces, part in zip(("validation", "hold-out"), held_out, logits, strict=False)
        ]
        if dataset.test is not None:
            evaluated.insert(0, self._evaluate_test(network, dataset.test, dataset.classes))
        elif len(evaluated) == 2:
            evaluated.reverse()
        figures = write_report(
            self.folder / REPORT,
            dataset,
            trainer.history,
            int(trainer.best["epoch"]),
            temperature,
            evaluated,
            {
                "network": f"{recipe.network}, {parameter_count(network):,} parameters",
                "recipe": ", ".join(f"{k} {v}" for k, v in recipe.to_dict().items()),
                "epoch kept": f"{trainer.best['epoch']:.0f} of {recipe.epochs}",
                "temperature": f"{temperature:.3f}",
                "tools": ", ".join(f"{k} {v}" for k, v in tool_versions().items()),
            },
        )
        replace(
            best,
            temperature=temperature,
            metrics=figures,
            training={**best.training, "tool_versions": tool_versions()},
            average_faces=_averages(dataset),
        ).save(self.folder / BEST)
        main = figures[evaluated[0].split]
        self.show(
            f"{evaluated[0].split}: accuracy {main['accuracy']:.2%}, balanced "
            f"{main['balanced_accuracy']:.2%} on {main['pictures']:,} pictures; "
            f"report in {self.folder / REPORT}"
        )
        return figures

    def _evaluate_test(
        self, network: torch.nn.Module, test: Faces, classes: tuple[str, ...]
    ) -> Evaluated:
        majority = None if self.votes is None else majority_labels(self.votes, test, classes)
        return Evaluated("test", test, predict_logits(network, test.pixels), majority)


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> Recipe | None:
    """Make sure that a run may write to `folder`; return the recipe to resume.

    Raises:
        RunError: The folder holds something and neither flag was given, or nothing to resume.
    """
    if resume:
        try:
            values = json.loads((folder / RUN).read_text(encoding="utf-8"))
            return Recipe.from_dict(values["recipe"])
        except FileNotFoundError as error:
            raise RunError(f"{folder}: no run to resume here.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{folder / RUN}: damaged, the run cannot be resumed.") from error
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: a file, not a folder to write a run to.")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise RunError(
                f"{folder}: not empty; choose another folder with -o, go on with --resume, "
                f"or replace the run with --overwrite."
            )
        for name in (RUN, HISTORY, BEST, LAST):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / REPORT, ignore_errors=True)
    return None


def tool_versions() -> dict[str, str]:
    """Name the packages that decide what a run learns, with their versions."""
    found = {"emotion-edge": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "Pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _averages(dataset: Dataset) -> torch.Tensor:
    """Make the average faces that travel with the checkpoint; uint8 (k, 1, 48, 48)."""
    classes = range(len(dataset.classes))
    made = [average_faces(dataset.train, label, _AVERAGES_PER_CLASS) for label in classes]
    return torch.from_numpy(np.concatenate(made)).unsqueeze(1)
