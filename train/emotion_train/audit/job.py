"""An audit from data to report: the function of ``emotion-audit``."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_runtime.atomic import write_atomically
from emotion_runtime.drawing.fonts import Font
from emotion_runtime.prediction import format_count
from emotion_train.audit.copies import CopyGroup, find_copy_groups, number_groups
from emotion_train.audit.cross_validation import CrossValidation, plan_folds
from emotion_train.audit.finished_run import predict_with_run
from emotion_train.audit.folds import assign_folds
from emotion_train.audit.label_quality import measure_label_quality
from emotion_train.audit.page import write_page
from emotion_train.audit.picture_quality import find_quality_issues
from emotion_train.audit.pictures import AuditedPictures, join_splits
from emotion_train.audit.result import AuditResult
from emotion_train.audit.sheets import draw_sheets
from emotion_train.audit.summary import describe_weakness, format_summary
from emotion_train.audit.table import write_audit_table, write_copy_table
from emotion_train.audit.votes_comparison import compare_with_votes
from emotion_train.data.exclusion import AUDIT_TABLE
from emotion_train.data.layout import refuse_output_within
from emotion_train.data.readers import read_source
from emotion_train.data.source import Source
from emotion_train.data.votes import Votes
from emotion_train.errors import DataError, RunError
from emotion_train.evaluation import fit_temperature
from emotion_train.folder_lock import is_empty, lock_folder
from emotion_train.recipe import Recipe
from emotion_train.training.distributed import TrainingProcess

_MAX_SKIPPED_SHOWN = 10


@dataclass(frozen=True)
class AuditFolder:
    """The files of an audit.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def record(self) -> Path:
        """Return the path of the settings and figures."""
        return self.path / "audit.json"

    @property
    def table(self) -> Path:
        """Return the path of the table with one row a picture."""
        return self.path / AUDIT_TABLE

    @property
    def copies(self) -> Path:
        """Return the path of the table of copies."""
        return self.path / "copies.csv"

    @property
    def page(self) -> Path:
        """Return the path of the page."""
        return self.path / "index.html"

    @property
    def sheets(self) -> Path:
        """Return the folder of the contact sheets."""
        return self.path / "sheets"

    @property
    def folds(self) -> Path:
        """Return the folder of the trainings."""
        return self.path / "folds"

    def check_new(self, *, overwrite: bool) -> None:
        """Check that a new audit may be written here.

        Raises:
            RunError: The path is a file, or a folder that is not empty. With `overwrite`, a folder
                that is no audit.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: a file, not a folder to write an audit to.")
        if not self.path.is_dir() or is_empty(self.path):
            return
        if not overwrite:
            raise RunError(
                f"{self.path}: not empty; choose another folder with -o, continue the audit with "
                f"--resume, or replace it with --overwrite."
            )
        if not self.record.is_file():
            raise RunError(
                f"{self.path}: not an audit, so that --overwrite does not replace it; choose "
                f"another folder with -o."
            )

    def read_record(self) -> bytes | None:
        """Return the content of the record, or None where there is none."""
        return self.record.read_bytes() if self.record.is_file() else None

    def lock(self) -> AbstractContextManager[None]:
        """Return a context in which no other process can write this audit, see `lock_folder`."""
        return lock_folder(
            self.path,
            f"{self.path}: another emotion-audit is writing it; wait until it has ended, or choose "
            f"another folder with -o.",
        )

    def remove_audit(self) -> None:
        """Remove the files of an earlier audit; leave other files alone."""
        for file in (self.record, self.table, self.copies, self.page):
            file.unlink(missing_ok=True)
        for folder in (self.sheets, self.folds):
            if folder.exists():
                shutil.rmtree(folder)


@dataclass(frozen=True)
class AuditJob:
    """Inputs, outputs and settings of an audit.

    Attributes:
        data: The data folder or CSV.
        folder: The folder of the audit.
        process: This process.
        say: Prints a message.
        show: Prints the summary.
        votes: A votes file to compare the ranking with.
        with_test: Audit the test set too.
        font: The font of the contact sheets; None for the shipped one.
        threads: Threads of the detector.
        progress: Show bars on a terminal.
    """

    data: Path
    folder: AuditFolder
    process: TrainingProcess
    say: Callable[[str], None]
    show: Callable[[str], None]
    votes: Path | None = None
    with_test: bool = True
    font: Path | None = None
    threads: int = 1
    progress: bool = True

    def cross_validate(
        self, recipe: Recipe, folds: int, choose: Collection[str], *, resume: bool = False
    ) -> dict[str, Any]:
        """Audit the labels with networks trained on the other folds.

        Args:
            recipe: The recipe of each training.
            folds: Number of folds.
            choose: Fields of the recipe to choose by the data.
            resume: Continue the audit in the folder.

        Returns:
            The figures.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: Another process is writing the audit; or it cannot be resumed, or a training
                diverged.
        """
        self._check_inputs()
        with self.folder.lock():
            return self._cross_validate(recipe, folds, choose, resume=resume)

    def _cross_validate(
        self, recipe: Recipe, folds: int, choose: Collection[str], *, resume: bool
    ) -> dict[str, Any]:
        """Audit the labels in the locked folder."""
        source = read_source(
            self.data,
            recipe.classes or None,
            size=recipe.size,
            progress=self.progress,
            faces=recipe.faces,
        )
        self._describe_source(source)
        splits = {name: faces for name, faces in source.splits.items() if self._is_audited(name)}
        pictures = join_splits(self.data, source, splits, are_crops=recipe.faces)
        _require_two_classes(self.data, pictures.classes)
        votes = self._read_votes(pictures)
        groups = find_copy_groups(pictures, progress=self.progress)
        fold_of = assign_folds(pictures, number_groups(groups, len(pictures)), folds)
        recipe, plan = plan_folds(
            pictures, fold_of, replace(recipe, classes=pictures.classes), choose
        )
        settings = {
            "data": str(self.data.absolute()),
            "digest": _hash_folds(pictures, fold_of),
            "folds": folds,
            "with_test": self.with_test,
            "recipe": recipe.to_dict(),
        }
        self._begin(settings, resume=resume)
        self.say(f"{folds} trainings of the network {recipe.network}, {plan}")
        logits = CrossValidation(
            pictures, fold_of, recipe, self.folder.folds, self.process, self.say, self.progress
        ).predict()
        temperature = fit_temperature(logits, pictures.faces.labels)
        method = (
            f"probabilities out of fold: {folds} networks ({recipe.network}, {recipe.epochs} "
            f"epochs), each trained without the pictures that it predicts"
        )
        everything = np.arange(len(pictures), dtype=np.int64)
        return self._report(
            pictures, everything, logits, temperature, groups, votes, settings, method
        )

    def use_run(self, run: Path) -> dict[str, Any]:
        """Audit the labels of the pictures that a finished run has not learned from.

        Args:
            run: A run folder, or a checkpoint in it.

        Returns:
            The figures.

        Raises:
            CheckpointError: The checkpoint cannot be read.
            DataError: The data are missing, malformed or too few.
            RunError: The data are not those of the run, or another process is writing the audit.
        """
        self._check_inputs()
        with self.folder.lock():
            return self._use_run(run)

    def _use_run(self, run: Path) -> dict[str, Any]:
        """Audit the labels in the locked folder."""
        found = predict_with_run(run, self.data, with_test=self.with_test, progress=self.progress)
        for note in found.notes:
            self.say(note)
        pictures = found.pictures
        self._describe_unreadable(pictures.unreadable)
        votes = self._read_votes(pictures)
        rated = np.flatnonzero(found.is_unseen)
        learned = int((~pictures.is_in("train") & ~found.is_unseen).sum())
        if learned:
            self.say(f"not rated: {format_count(learned, 'held-out picture')} with a copy in train")
        if not len(rated):
            raise RunError(f"{run}: has learned from every picture, so that none can be rated.")
        settings = {"data": str(self.data.absolute()), "run": str(run.absolute())}
        method = (
            f"probabilities of the run {run.name}, for the {len(rated):,} of "
            f"{format_count(len(pictures), 'picture')} that it has not learned from"
        )
        self._begin(settings, resume=False)
        groups = find_copy_groups(pictures, progress=self.progress)
        logits, temperature = found.logits[rated], found.temperature
        return self._report(pictures, rated, logits, temperature, groups, votes, settings, method)

    def _is_audited(self, split: str) -> bool:
        return self.with_test or split != "test"

    def _check_inputs(self) -> None:
        refuse_output_within(self.data, self.folder.path)
        Font(self.font)  # raises an error for a file that is no font, before the trainings
        if self.votes is not None and not self.votes.exists():
            raise DataError(f"{self.votes}: no such votes file.")

    def _read_votes(self, pictures: AuditedPictures) -> Votes | None:
        if self.votes is None:
            return None
        votes = Votes(self.votes, pictures.classes)
        votes.require_some(pictures.faces)
        return votes

    def _describe_source(self, source: Source) -> None:
        for note in source.notes:
            self.say(note)
        for text in source.passed_over:
            self.say(f"passed over: {text}")
        self._describe_unreadable(source.skipped)

    def _describe_unreadable(self, sentences: Collection[str]) -> None:
        for text in list(sentences)[:_MAX_SKIPPED_SHOWN]:
            self.say(f"skipped: {text}")
        if (more := len(sentences) - _MAX_SKIPPED_SHOWN) > 0:
            self.say(f"skipped: {more:,} more")

    def _begin(self, settings: dict[str, Any], *, resume: bool) -> None:
        """Write the settings of a new audit, or compare those to resume.

        Raises:
            RunError: They differ.
        """
        if resume:
            earlier = read_audit_settings(self.folder)
            if earlier.get("digest") != settings["digest"]:
                raise RunError(
                    f"{self.folder.path}: the pictures or labels of {self.data} are not those of "
                    f"the audit to resume; start a new one with --overwrite, or with another -o."
                )
            return
        self.folder.remove_audit()
        _write_json(self.folder.record, {"settings": settings})

    def _report(
        self,
        pictures: AuditedPictures,
        rated: NDArray[np.int64],
        logits: NDArray[np.float32],
        temperature: float,
        groups: list[CopyGroup],
        votes: Votes | None,
        settings: dict[str, Any],
        method: str,
    ) -> dict[str, Any]:
        """Rate the labels, and write the files of the audit."""
        probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
        faces = pictures.faces.take(rated)
        quality = measure_label_quality(faces.labels, probabilities)
        comparison = None
        if votes is not None:
            comparison = compare_with_votes(votes, faces, quality.scores)
        result = AuditResult(
            pictures=pictures,
            rated=rated,
            probabilities=probabilities,
            quality=quality,
            groups=groups,
            issues=find_quality_issues(pictures, threads=self.threads, progress=self.progress),
            votes=comparison,
            method=method,
        )
        write_audit_table(self.folder.table, result)
        write_copy_table(self.folder.copies, result)
        shutil.rmtree(self.folder.sheets, ignore_errors=True)
        self.folder.sheets.mkdir()
        if (note := draw_sheets(self.folder.sheets, result, Font(self.font))) is not None:
            self.say(note)
        write_page(self.folder.page, result, self.data.name)
        figures = {"temperature": temperature, **result.to_figures()}
        _write_json(self.folder.record, {"settings": settings, "figures": figures})
        self.show(format_summary(result))
        if (weakness := describe_weakness(result)) is not None:
            self.say(f"warning: {weakness}")
        return figures


def read_audit_settings(folder: AuditFolder) -> dict[str, Any]:
    """Load the settings of an audit.

    Raises:
        RunError: There is none, or it is damaged.
    """
    if not folder.record.is_file():
        raise RunError(f"{folder.path}: no audit to resume here.")
    try:
        settings = json.loads(folder.record.read_text(encoding="utf-8"))["settings"]
        if not isinstance(settings, dict):
            raise TypeError("the settings are no object")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{folder.record}: damaged, the audit cannot be resumed.") from error
    return settings


def read_audit_recipe(folder: AuditFolder) -> tuple[Recipe, int, bool]:
    """Load the recipe, the number of folds and whether there is a test set of an audit to resume.

    Raises:
        RunError: There is none, it is damaged, or it is that of a finished run.
    """
    settings = read_audit_settings(folder)
    if "run" in settings:
        raise RunError(
            f"{folder.path}: an audit with the predictions of a finished run, which has nothing "
            f"to resume; replace it with --overwrite."
        )
    try:
        folds = settings["folds"]
        if type(folds) is not int or folds < 2:
            raise ValueError("a number of folds that no audit can have")
        with_test = settings.get("with_test", True)
        if type(with_test) is not bool:
            raise TypeError("neither with nor without a test set")
        return Recipe.from_dict(settings["recipe"]), folds, with_test
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder.record}: damaged, the audit cannot be resumed.") from error


def _require_two_classes(data: Path, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise DataError(f"{data}: one class ({classes[0]}) leaves nothing to tell apart.")


def _hash_folds(pictures: AuditedPictures, folds: NDArray[np.int64]) -> str:
    """Return the SHA-256 of names, labels, pixels and folds."""
    faces = pictures.faces
    digest = hashlib.sha256("\n".join(faces.names).encode("utf-8", "surrogateescape"))
    for values in (faces.labels, faces.pixels, folds):
        digest.update(values.tobytes())
    return digest.hexdigest()


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
