"""A run from data to report: the function of ``emotion-train``."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.command_line.extras import find_missing_module, format_missing_message
from emotion_runtime.prediction import format_count
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.checkpoints.transfer import average_weights, load_initial
from emotion_train.class_weights import check_class_weights
from emotion_train.data.balance import ClassBalance, compute_balance
from emotion_train.data.checks import list_warnings
from emotion_train.data.dataset import Dataset, load_recipe_dataset
from emotion_train.data.exclusion import (
    exclude_pictures,
    find_audit_table,
    require_audit_table,
)
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import has_same_held_out
from emotion_train.data.layout import refuse_output_within
from emotion_train.data.readers import read_other_classes
from emotion_train.data.votes import Votes
from emotion_train.errors import DataError, RunError
from emotion_train.networks import build_network
from emotion_train.recipe import FREEZE_NOTHING, Recipe
from emotion_train.report.rate_curve import write_rate_curve
from emotion_train.report.run_report import RunReport, collect_tool_versions
from emotion_train.resuming import merge_records, require_same_run, restore_trainer
from emotion_train.run_folder import RunFolder
from emotion_train.run_messages import (
    describe_trainer,
    find_emulation_warning,
    format_data_tables,
    list_data_notes,
)
from emotion_train.run_record import RunOptions, RunRecord, describe_input
from emotion_train.training.cpu_threads import limit_threads
from emotion_train.training.distributed import TrainingProcess, sum_over_processes
from emotion_train.training.event_files import open_event_files
from emotion_train.training.freezing import FrozenLayers
from emotion_train.training.planning import Workload, describe_plan, plan_recipe
from emotion_train.training.precision import PRECISION_NAMES
from emotion_train.training.rate_finder import RangeTest, find_learning_rate
from emotion_train.training.targets import Targets
from emotion_train.training.teacher import Teacher, load_teacher_network, require_teacher_network
from emotion_train.training.time_budget import TimeBudget, estimate_report_seconds
from emotion_train.training.trainer import Trainer
from emotion_train.training.vote_targets import (
    leave_out_unusable,
    make_held_out_soft_labels,
    make_vote_targets,
)


@dataclass(frozen=True, eq=False)
class _Data:
    """The data of a run."""

    dataset: Dataset
    votes: Votes | None
    targets: Targets | None
    weights: NDArray[np.float32] | None
    excluded: int
    balance: ClassBalance
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _PreparedRun:
    """Data and trainer of a run before its first epoch."""

    data: _Data
    trainer: Trainer
    warnings: tuple[str, ...]
    plan: tuple[str, ...]
    report_seconds: float
    others: dict[str, NDArray[np.uint8]] | None


@dataclass(frozen=True)
class Run:
    """Inputs, outputs and settings of a run, besides its recipe.

    Attributes:
        data: The data folder or CSV.
        folder: The run folder.
        process: This process.
        say: Prints a message.
        show: Prints a result: the tables of the data, the final figures.
        votes: A votes file, for the report and, with a `vote_weight` in the recipe, the targets.
        exclude: The ``audit.csv`` that `exclude` in the recipe refers to.
        teachers: Checkpoints, run folders, model files or names of released models; the mean of
            their predictions is part of the targets.
        start_from: Checkpoints, run folders or names of released networks; the mean of their
            weights is the initial one.
        validation: A folder of class folders to use as the validation set.
        coverage: Minimum fraction of the held-out faces at or above the confidence threshold.
        with_test: Measure on the test set at the end.
        threads: Number of CPU threads; None for the CPUs that this process may use.
        budget: The time limit of a new run, which determines its number of epochs.
        progress: Show bars on a terminal.
        tensorboard: Write event files for TensorBoard into the run folder.
    """

    data: Path
    folder: Path
    process: TrainingProcess
    say: Callable[[str], None]
    show: Callable[[str], None]
    votes: Path | None = None
    exclude: Path | None = None
    teachers: tuple[str, ...] = ()
    start_from: tuple[Path, ...] = ()
    validation: Path | None = None
    coverage: float = 1.0
    with_test: bool = True
    threads: int | None = None
    budget: TimeBudget | None = None
    progress: bool = True
    tensorboard: bool = False

    def train(
        self,
        recipe: Recipe,
        *,
        choose: Collection[str] = (),
        resume: RunRecord | None = None,
        overwrite: bool = False,
    ) -> dict[str, Any]:
        """Train by a recipe, or resume the run in the folder, and write the report.

        Args:
            recipe: The recipe; that of the record for a resumed run.
            choose: Fields of the recipe to choose by data and time limit, from
                `emotion_train.training.trainer.planning.PLANNED`.
            resume: The record of the run to resume.
            overwrite: Remove the run in the folder, just before the new one starts.

        Returns:
            The figures of the report.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: Another process is training in the folder; or the run cannot be resumed, does
                not fit into the time limit, or diverged.
        """
        if resume is not None and resume.precision == "fp32" and recipe.precision == "auto":
            recipe = replace(recipe, precision="fp32")  # available on every machine
        with self._lock_folder():
            return self._train(recipe, choose, resume, overwrite=overwrite)

    def _train(
        self,
        recipe: Recipe,
        choose: Collection[str],
        resume: RunRecord | None,
        *,
        overwrite: bool,
    ) -> dict[str, Any]:
        """Train and write the report, in the locked folder."""
        last = RunFolder(self.folder).last_checkpoint
        has_checkpoint = resume is not None and last.exists()
        prepared = self._prepare(recipe, choose, with_initial=not has_checkpoint)
        trainer = prepared.trainer
        record = replace(
            self._make_record(prepared), warnings=prepared.warnings, plan=prepared.plan
        )
        emulation = find_emulation_warning(trainer.precision, self.process.device)
        if emulation is not None:
            self._tell(emulation)
        if resume is not None:
            trainer.extensions = [asdict(one) for one in resume.extensions]
            require_same_run(
                self.folder, resume, record, has_checkpoint=has_checkpoint, tell=self._tell
            )
            record = merge_records(record, resume, has_checkpoint=has_checkpoint)
        if has_checkpoint:
            restore_trainer(trainer, last, record.extensions, self._tell)
        if self.process.is_first:
            if overwrite:
                RunFolder(self.folder).remove_run()
            record.save(self.folder)
        with self._write_event_files(trainer, is_resumed=has_checkpoint):
            trainer.train(
                RunFolder(self.folder),
                self.say,
                progress=self.progress,
                budget=self.budget,
                report=prepared.report_seconds,
            )
        if not self.process.is_first:
            return {}
        return self._write_report(prepared, record)

    def find_learning_rate(self, recipe: Recipe, choose: Collection[str] = ()) -> RangeTest:
        """Find a learning rate for a recipe, and write the curve of the range test.

        Args:
            recipe: The recipe.
            choose: Fields of the recipe to choose by the data, as in `train`.

        Returns:
            The range test; its ``suggestion`` is the learning rate.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: Another process is training in the folder, or the loss falls at no learning
                rate.
        """
        with self._lock_folder():
            return self._find_learning_rate(recipe, choose)

    def _find_learning_rate(self, recipe: Recipe, choose: Collection[str]) -> RangeTest:
        """Find a learning rate and write the curve, in the locked folder."""
        prepared = self._prepare(
            replace(recipe, averaging=0.0),
            choose,
            with_initial=True,
            unused=("epochs", "learning_rate"),
        )
        result = find_learning_rate(prepared.trainer, progress=self.progress)
        marks = {
            "suggested": result.suggestion,
            "steepest fall": result.steepest,
            "lowest loss": result.lowest,
        }
        folder = RunFolder(self.folder)
        write_rate_curve(folder, result.rates, result.losses, result.smoothed, marks)
        passes = len(result.rates) / len(prepared.trainer.batches)
        self.say(
            f"range test: {len(result.rates)} steps ({passes:.1f} times through the balanced "
            f"training set), rates from {result.rates[0]:g} to {result.rates[-1]:.2g}"
            + ("" if result.has_diverged else "; the loss did not diverge")
        )
        self.show(
            f"learning rate: {result.suggestion:g}, a third of the {result.lowest:.2g} where the "
            f"loss is lowest (it falls fastest at {result.steepest:.2g}); curve in "
            f"{folder.rate_picture}"
        )
        return result

    @contextmanager
    def _lock_folder(self) -> Iterator[None]:
        """Keep other commands from training in the folder; the first process has the lock."""
        refuse_output_within(self.data, self.folder)
        with RunFolder(self.folder).lock() if self.process.is_first else nullcontext():
            yield

    def _tell(self, text: str) -> None:
        """Print a message once, in the first process."""
        if self.process.is_first:
            self.say(text)

    def _prepare(
        self,
        recipe: Recipe,
        choose: Collection[str],
        *,
        with_initial: bool,
        unused: Collection[str] = (),
    ) -> _PreparedRun:
        """Read the data and build the trainer.

        Args:
            recipe: The recipe.
            choose: Fields of the recipe to choose by data and time limit.
            with_initial: Load the initial weights; a resumed run has them in its checkpoint.
            unused: Fields that are chosen, but not printed, because the caller does not use them.
        """
        self._require_inputs(recipe)
        data, recipe = self._load_data(recipe)
        dataset = data.dataset
        limit_threads(self.threads, self.process.device)
        soft_labels = make_held_out_soft_labels(dataset, recipe, data.votes, self._tell)
        teacher, warnings = self._load_teacher(recipe, dataset)
        initial = None
        if with_initial:
            initial, more = self._load_initial(dataset, recipe)
            warnings += more
        for text in warnings:
            self._tell(f"warning: {text}")
        build = partial(
            Trainer,
            dataset,
            process=self.process,
            targets=data.targets,
            initial=initial,
            teacher=teacher,
            soft_labels=soft_labels,
            weights=data.weights,
        )
        # With a time limit, read now, so that the plan includes their predictions in the report.
        others = None if self.budget is None else self._read_others(dataset, recipe)
        shown = [name for name in choose if name not in unused]
        recipe, plan, report_seconds = self._plan(recipe, choose, shown, data, build, others or {})
        trainer = build(recipe)
        for text in describe_trainer(trainer, self.start_from):
            self._tell(text)
        return _PreparedRun(
            data=data,
            trainer=trainer,
            warnings=(*data.warnings, *warnings),
            plan=plan,
            report_seconds=report_seconds,
            others=others,
        )

    def _require_inputs(self, recipe: Recipe) -> None:
        """Raise an error for missing inputs and impossible settings, before the data are read."""
        if self.votes is not None and not os.path.lexists(self.votes):
            raise DataError(f"{self.votes}: no such votes file.")
        if recipe.exclude and self.exclude is None:
            raise RunError("the recipe leaves out pictures by an audit; name it with --exclude.")
        if self.exclude is not None:
            require_audit_table(find_audit_table(self.exclude))
        if recipe.teacher_weight:
            for source in self.teachers:
                require_teacher_network(source)
        if recipe.freeze != FREEZE_NOTHING:
            FrozenLayers(build_network(recipe.network, 2, recipe.size), recipe.freeze)

    def _load_data(self, recipe: Recipe) -> tuple[_Data, Recipe]:
        """Load data and votes; return them, and the recipe with the choices made by the data."""
        dataset = load_recipe_dataset(
            self.data,
            recipe,
            validation=self.validation,
            progress=self.progress and self.process.is_first,
        )
        try:
            check_class_weights(recipe.class_weights, dataset.classes)
        except ValueError as error:
            raise RunError(f"--class-weights: {error}.") from error
        recipe = replace(
            recipe,
            classes=dataset.classes,
            validation_per_class=dataset.validation_per_class,
            holdout=dataset.holdout_share,
        )
        votes = None if self.votes is None else Votes(self.votes, dataset.classes)
        if votes is not None:
            dataset = leave_out_unusable(dataset, votes, recipe, self._tell)
        weights, excluded = None, 0
        if recipe.exclude and self.exclude is not None:
            after = exclude_pictures(
                dataset, self.exclude, recipe.exclude, recipe.exclude_weight, self._tell
            )
            dataset, weights, excluded = after.dataset, after.weights, after.excluded
        targets = make_vote_targets(dataset, recipe, votes)
        balance = compute_balance(dataset.train, len(dataset.classes), recipe.balance, targets)
        warnings = list_warnings(dataset, dataset.holdout_share)
        if self.process.is_first:
            for text in list_data_notes(dataset, warnings):
                self.say(text)
            for text in format_data_tables(dataset, balance):
                self.show(text)
        data = _Data(dataset, votes, targets, weights, excluded, balance, tuple(warnings))
        return data, recipe

    def _plan(
        self,
        recipe: Recipe,
        choose: Collection[str],
        shown: Collection[str],
        data: _Data,
        build: Callable[[Recipe], Trainer],
        others: Mapping[str, NDArray[np.uint8]],
    ) -> tuple[Recipe, tuple[str, ...], float]:
        """Choose the fields of the recipe that the user left open, and print those in `shown`.

        Returns:
            The recipe, sentences about the choices without a full stop, and the seconds for the
            report (0 without a time limit).
        """
        dataset = data.dataset
        epoch_faces = int(data.balance.total.sum())
        workload = Workload(len(dataset.train), epoch_faces, bool(self.start_from))
        plan, epochs, report_seconds = [], None, 0.0
        if self.budget is not None:
            trainer = build(plan_recipe(recipe, workload, choose))
            pace = trainer.measure_pace(self.budget)
            held_out = len(dataset.validation) + len(dataset.holdout)
            test = 0 if dataset.test is None else len(dataset.test)
            predictions = held_out + test + sum(map(len, others.values()))
            report_seconds = estimate_report_seconds(pace, predictions)
            epochs, epoch_seconds = self.budget.plan_epochs(
                pace, steps=len(trainer.batches), held_out=held_out, report=report_seconds
            )
            # All processes use the plan of the first one.
            epochs = int(sum_over_processes(epochs if self.process.is_first else 0, self.process))
            plan.append(
                f"planned for --max-minutes {self.budget.minutes:g}: "
                f"{format_count(epochs, 'epoch')} of about "
                f"{epoch_seconds:.2g} seconds"
            )
        planned = plan_recipe(recipe, workload, choose, epochs)
        if shown:
            plan.append(describe_plan(planned, workload, shown))
        for text in plan:
            self._tell(text)
        return planned, tuple(plan), report_seconds

    def _read_others(self, dataset: Dataset, recipe: Recipe) -> dict[str, NDArray[np.uint8]]:
        """Read the faces of unknown classes, for the report."""
        if not self.process.is_first:
            return {}
        unreadable: list[str] = []
        others = read_other_classes(
            self.data,
            dataset.classes,
            size=recipe.size,
            skipped=unreadable,
            faces=recipe.faces,
        )
        if unreadable:
            self.say(
                f"skipped: {format_count(len(unreadable), 'picture')} of other classes, such as "
                f"{unreadable[0]}"
            )
        return others

    def _write_report(self, prepared: _PreparedRun, record: RunRecord) -> dict[str, Any]:
        """Evaluate the network of the kept epoch, write the report, and print its main figures."""
        data, trainer = prepared.data, prepared.trainer
        others = prepared.others
        if others is None:
            others = self._read_others(data.dataset, trainer.recipe)
        options = record.options or RunOptions()
        report = RunReport(
            dataset=data.dataset,
            recipe=trainer.recipe,
            device=self.process.device,
            balance=trainer.balance,
            history=trainer.history,
            kept_epoch=int(trainer.kept_row["epoch"]),
            votes=data.votes,
            others=others,
            coverage=self.coverage,
            with_test=self.with_test,
            extensions=tuple(map(str, record.extensions)),
            sources={
                "votes_sha256": None if options.votes is None else options.votes.sha256,
                "teachers_sha256": [one.sha256 for one in options.teachers],
                **self._describe_exclusion(data, options),
            },
            by_votes=bool(trainer.soft_labels),
            warnings=record.warnings,
        )
        figures = report.write(self.folder)
        for text in report.list_warnings(figures):
            self.say(f"warning: {text}")
        self.show(f"{report.summarise(figures)}; report in {RunFolder(self.folder).report}")
        return figures

    def _describe_exclusion(self, data: _Data, options: RunOptions) -> dict[str, Any]:
        """Return what a checkpoint records about the pictures excluded by an audit."""
        if options.exclude is None:
            return {}
        return {"excluded": {"pictures": data.excluded, "audit_sha256": options.exclude.sha256}}

    def _load_initial(
        self, dataset: Dataset, recipe: Recipe
    ) -> tuple[Checkpoint | None, list[str]]:
        """Load the initial weights, None for random ones; return warnings about them too."""
        checkpoints = [load_initial(str(path)) for path in self.start_from]
        warnings: list[str] = []
        for path, checkpoint in zip(self.start_from, checkpoints, strict=True):
            warnings += self._check_held_out(
                str(path), checkpoint.training, checkpoint.metrics, dataset, recipe
            )
        return average_weights(checkpoints) if checkpoints else None, warnings

    def _load_teacher(self, recipe: Recipe, dataset: Dataset) -> tuple[Teacher | None, list[str]]:
        """Load the teacher, None without one; return warnings about it too."""
        if not recipe.teacher_weight:
            return None, []
        if not self.teachers:
            raise RunError("the recipe learns from a teacher; name it with --teacher.")
        networks = [load_teacher_network(source, self.process.device) for source in self.teachers]
        warnings: list[str] = []
        for network in networks:
            more = [name for name in network.labels if name not in dataset.classes]
            if more:
                self._tell(
                    f"teacher {network.source}: also knows {', '.join(more)}; their "
                    f"probabilities are left out"
                )
            warnings += self._check_held_out(
                network.source, network.training, network.metrics, dataset, recipe
            )
        return Teacher(networks, dataset.classes, recipe.size), warnings

    def _check_held_out(
        self,
        source: str,
        training: dict[str, Any],
        metrics: dict[str, Any],
        dataset: Dataset,
        recipe: Recipe,
    ) -> list[str]:
        """Return a warning if another run may have been trained on pictures held out here.

        The draw depends on names and seed, not on the classes. Added or removed pictures change it.
        """
        if has_same_held_out(training, metrics, dataset.drawn, recipe):
            return []
        return [
            f"{source} was trained with other held-out faces: if its training data contain "
            f"pictures of {self.data.name}, it may have learned some that are held out here, and "
            f"their figures are too good"
        ]

    def _make_record(self, prepared: _PreparedRun) -> RunRecord:
        """Return the settings with which this run starts or continues."""
        trainer, test = prepared.trainer, prepared.data.dataset.test
        options = RunOptions(
            coverage=self.coverage,
            with_test=self.with_test,
            votes=None if self.votes is None else describe_input(str(self.votes)),
            exclude=(
                None
                if self.exclude is None
                else describe_input(str(find_audit_table(self.exclude)))
            ),
            teachers=tuple(describe_input(name) for name in self.teachers),
            start_from=tuple(describe_input(str(path), start=True) for path in self.start_from),
            validation=None if self.validation is None else str(self.validation.absolute()),
            max_minutes=None if self.budget is None else self.budget.minutes,
        )
        return RunRecord(
            data=str(self.data.absolute()),
            recipe=trainer.recipe,
            options=options,
            data_digest=trainer.digest,
            test_digest=None if test is None else _hash_faces(test),
            precision=PRECISION_NAMES[trainer.precision],
            tool_versions=collect_tool_versions(),
        )

    @contextmanager
    def _write_event_files(self, trainer: Trainer, *, is_resumed: bool) -> Iterator[None]:
        """Write event files for TensorBoard during the training, if requested.

        Args:
            trainer: The trainer.
            is_resumed: The run is resumed; it continues event files that it wrote before.
        """
        folder = RunFolder(self.folder).tensorboard
        has_event_files = is_resumed and folder.is_dir()
        if not self.process.is_first or not (self.tensorboard or has_event_files):
            yield
            return
        if (missing := find_missing_module("tensorboard")) is not None:
            self.say(
                f"warning: no further event files: "
                f"{format_missing_message('TensorBoard', missing, 'tensorboard')}"
            )
            yield
            return
        with open_event_files(folder, trainer.history) as events:
            trainer.on_epoch = events.add
            self.say(f"curves: tensorboard --logdir {shlex.quote(str(folder))}")
            yield


def _hash_faces(faces: Faces) -> str:
    """Return the SHA-256 of pixels and labels."""
    digest = hashlib.sha256(faces.labels.tobytes())
    digest.update(faces.pixels.tobytes())
    return digest.hexdigest()
