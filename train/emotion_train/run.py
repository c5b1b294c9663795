"""A run from data to report: what ``emotion-train`` does, as a function."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion_runtime.atomic import replacing
from emotion_runtime.cpus import usable_cpus
from emotion_train.checkpoint import BEST, LAST, load_checkpoint
from emotion_train.dataset import Dataset, load_dataset
from emotion_train.distributed import Place
from emotion_train.errors import RunError
from emotion_train.networks.face_network import parameter_count
from emotion_train.outcome import REPORT, Outcome
from emotion_train.readers import read_other_classes
from emotion_train.recipe import Recipe
from emotion_train.report import class_table
from emotion_train.targets import Targets, label_targets, mix
from emotion_train.teacher import Teacher, load_member
from emotion_train.training import HISTORY, Trainer
from emotion_train.transfer import blend
from emotion_train.votes import Votes

RUN = "run.json"


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes, and on what; none of it changes what is learned.

    Attributes:
        data: The data folder or CSV.
        folder: The run folder.
        place: This process among all.
        votes: A votes file, for the report and, where the recipe says so, for the targets.
        teachers: Checkpoints, run folders, model files or released models by name; the mean of
            their answers joins the targets.
        start_from: Checkpoints or run folders; the run starts with the mean of their weights.
        answered: Part of the held-out faces that the confidence floor must let through.
        with_test: Measure on the test set at the end; trials leave it alone.
        threads: Threads of the CPU's arithmetic; None for the CPUs that this process may use.
        say: Takes messages for a person.
        show: Takes results: the table of the classes, the closing figures.
        progress: Show bars on a terminal.
    """

    data: Path
    folder: Path
    place: Place
    say: Callable[[str], None]
    show: Callable[[str], None]
    votes: Path | None = None
    teachers: tuple[str, ...] = ()
    start_from: tuple[Path, ...] = ()
    answered: float = 1.0
    with_test: bool = True
    threads: int | None = None
    progress: bool = True

    def train(self, recipe: Recipe, *, resume: bool = False) -> dict[str, Any]:
        """Train by `recipe`, or go on with what the run folder holds, and report.

        Returns:
            The report's figures.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: The run cannot be resumed, or diverged.
        """
        dataset = load_dataset(
            self.data,
            classes=recipe.classes,
            size=recipe.size,
            seed=recipe.seed,
            validation_per_class=recipe.validation_per_class,
            holdout=recipe.holdout,
            drop_duplicates=recipe.drop_duplicates,
            progress=self.progress and self.place.is_first,
        )
        votes = None if self.votes is None else Votes(self.votes, dataset.classes)
        if votes is not None and recipe.vote_weight:
            faces = np.flatnonzero(votes.shows_face(dataset.train))
            if self.place.is_first:
                self.say(f"left out by votes: {len(dataset.train) - len(faces):,} pictures")
            dataset = replace(dataset, train=dataset.train.take(faces))
        if self.place.is_first:
            self._introduce(dataset)
        if votes is not None and dataset.test is not None:
            votes.majority(dataset.test)  # fail now, not in hours
        self._limit_threads()
        targets = self._targets(dataset, recipe, votes)
        teacher = self._teacher(recipe, dataset)
        starts = [load_checkpoint(path) for path in self.start_from]
        for path, start in zip(self.start_from, starts, strict=True):
            self._warn_of_another_draw(str(path), start.labels, start.training, dataset, recipe)
        initial = blend(starts) if starts else None
        trainer = Trainer(dataset, recipe, self.place, targets, initial, teacher)
        if self.place.is_first:
            self.say(
                f"network {recipe.network}: {parameter_count(trainer.network):,} parameters, "
                f"{trainer.multiply_adds / 1e6:.2f} M multiply-adds a face"
            )
        if resume and (self.folder / LAST).exists():
            trainer.restore(load_checkpoint(self.folder / LAST))
            if self.place.is_first:
                self.say(f"resuming after epoch {len(trainer.history)}")
        if self.place.is_first:  # not before all is known to be right: a refusal leaves no folder
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remember(recipe)
        trainer.train(self.folder, self.say, progress=self.progress)
        if not self.place.is_first:
            return {}
        others = read_other_classes(self.data, dataset.classes, size=recipe.size)
        outcome = Outcome(dataset, trainer, votes, others, self.answered, self.with_test)
        figures = outcome.complete(self.folder)
        self.show(f"{outcome.summary(figures)}; report in {self.folder / REPORT}")
        return figures

    def _limit_threads(self) -> None:
        """Use the CPUs that are there: more threads than CPUs cost a third of the speed."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        elif "OMP_NUM_THREADS" not in os.environ and self.place.device.type == "cpu":
            torch.set_num_threads(usable_cpus())

    def _targets(self, dataset: Dataset, recipe: Recipe, votes: Votes | None) -> Targets | None:
        """Mix labels and votes; None where labels alone are taught."""
        if not recipe.vote_weight:
            return None
        if votes is None:
            raise RunError("the recipe learns from votes; name their file with --votes.")
        labels = label_targets(dataset.train, len(dataset.classes))
        return mix(labels, votes.targets(dataset.train), recipe.vote_weight)

    def _teacher(self, recipe: Recipe, dataset: Dataset) -> Teacher | None:
        """Open the teacher, where the recipe learns from one."""
        if not recipe.teacher_weight:
            return None
        if not self.teachers:
            raise RunError("the recipe learns from a teacher; name it with --teacher.")
        members = [load_member(source, self.place.device) for source in self.teachers]
        for one in members:
            self._warn_of_another_draw(one.source, one.labels, one.training, dataset, recipe)
        return Teacher(members, dataset.classes, recipe.size)

    def _warn_of_another_draw(
        self,
        source: str,
        labels: tuple[str, ...],
        training: dict[str, Any],
        dataset: Dataset,
        recipe: Recipe,
    ) -> None:
        """Warn where another run may have seen what is held out here.

        The draw depends on a class's place in the list, so that a teacher of more classes must
        name this run's classes first.
        """
        theirs = training.get("recipe", {})
        same = labels[: len(dataset.classes)] == dataset.classes and all(
            theirs.get(name) == getattr(recipe, name)
            for name in ("seed", "holdout", "validation_per_class")
        )
        if self.place.is_first and not same:
            self.say(
                f"warning: {source} was trained with another draw of held-out faces (its classes "
                f"{', '.join(labels)}; seed, hold-out or validation may differ too): it may "
                f"know faces that are held out here, and the held-out figures be too good."
            )

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
