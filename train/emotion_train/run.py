"""A run from data to report: what ``emotion-train`` does, as a function."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_runtime.command_line.extras import find_missing_module, format_missing_message
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.errors import EmotionEdgeError
from emotion_train.checkpoints.checkpoint import BEST, LAST, Checkpoint, load_checkpoint
from emotion_train.checkpoints.transfer import blend, load_start
from emotion_train.class_weights import check_class_weights
from emotion_train.data.balance import BalanceTable, balance_table
from emotion_train.data.checks import list_warnings, require_every_class
from emotion_train.data.dataset import Dataset, load_recipe_dataset
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import held_out_alike
from emotion_train.data.layout import refuse_output_within
from emotion_train.data.readers import read_other_classes
from emotion_train.data.source import VOTED_OUT
from emotion_train.data.table import data_table
from emotion_train.data.votes import SoftLabels, Votes
from emotion_train.errors import DataError, RunError
from emotion_train.networks import build_network
from emotion_train.networks.face_network import parameter_count
from emotion_train.recipe import FREEZE_NOTHING, Recipe
from emotion_train.report.outcome import REPORT, Outcome, tool_versions
from emotion_train.report.rate_curve import RATE_CSV, RATE_PICTURE, write_rate_curve
from emotion_train.report.tables import class_table
from emotion_train.run_record import (
    RUN,
    Extension,
    Options,
    RunRecord,
    describe_source,
    differing,
    read_record,
)
from emotion_train.training.cpu_features import lacks_fast
from emotion_train.training.distributed import Place, sum_over_processes
from emotion_train.training.event_files import TENSORBOARD, open_event_files
from emotion_train.training.freezing import Frozen
from emotion_train.training.planning import Workload, describe_plan, plan_recipe
from emotion_train.training.rate_finder import RangeTest, find_learning_rate
from emotion_train.training.targets import Targets, label_targets, mix
from emotion_train.training.teacher import Teacher, load_member, require_member
from emotion_train.training.time_budget import TimeBudget, report_seconds
from emotion_train.training.trainer import HISTORY, Trainer

_PRECISION_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Data and trainer of a run that is about to begin."""

    dataset: Dataset
    votes: Votes | None
    trainer: Trainer
    warnings: tuple[str, ...]
    plan: tuple[str, ...]
    report_seconds: float
    others: dict[str, NDArray[np.uint8]] | None


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
        start_from: Checkpoints, run folders or released networks by name; the run starts with the
            mean of their weights.
        validation: A folder of class folders to use as the validation set.
        coverage: Part of the held-out faces that must reach the confidence threshold.
        with_test: Measure on the test set at the end; trials leave it alone.
        threads: Threads of the CPU's arithmetic; None for the CPUs that this process may use.
        budget: The minutes that a new run may take; they decide how many epochs there are.
        say: Takes messages for a person.
        show: Takes results: the table of the classes, the closing figures.
        progress: Show bars on a terminal.
        tensorboard: Write event files for TensorBoard into the run folder.
    """

    data: Path
    folder: Path
    place: Place
    say: Callable[[str], None]
    show: Callable[[str], None]
    votes: Path | None = None
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
        """Train by `recipe`, or go on with what the run folder holds, and report.

        Args:
            recipe: What to learn; that of the record, where a run goes on.
            choose: Fields of the recipe to choose from the data and the time, of
                `emotion_train.training.planning.PLANNED`.
            resume: What the run to go on with was begun with.
            overwrite: Replace the run in the folder, once the new one is about to begin.

        Returns:
            The report's figures.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: The run cannot be resumed, does not fit into its minutes, or diverged.
        """
        if resume is not None and resume.precision == "fp32" and recipe.precision == "auto":
            recipe = replace(recipe, precision="fp32")  # every machine has it
        last = self.folder / LAST if resume and (self.folder / LAST).exists() else None
        prepared = self._prepare(recipe, last, choose)
        return self._train(prepared, last, resume=resume, overwrite=overwrite)

    def find_learning_rate(self, recipe: Recipe, choose: Collection[str] = ()) -> RangeTest:
        """Find the learning rate to train `recipe` with; write its curve, and no run.

        Args:
            recipe: What to learn.
            choose: Fields of the recipe to choose from the data, as in `train`.

        Returns:
            What was measured; its ``suggestion`` is the rate.

        Raises:
            DataError: The data are missing, malformed or too few.
            RunError: The loss falls at no rate.
        """
        prepared = self._prepare(replace(recipe, averaging=0.0), None, choose)
        found = find_learning_rate(prepared.trainer, progress=self.progress)
        marks = {
            "suggested": found.suggestion,
            "steepest fall": found.steepest,
            "lowest loss": found.lowest,
        }
        write_rate_curve(self.folder, found.rates, found.losses, found.smoothed, marks)
        passes = len(found.rates) / len(prepared.trainer.batches)
        self.say(
            f"range test: {len(found.rates)} steps ({passes:.1f} times through the balanced "
            f"training set), rates from {found.rates[0]:g} to {found.rates[-1]:.2g}"
            + ("" if found.diverged else "; the loss did not diverge")
        )
        self.show(
            f"learning rate: {found.suggestion:g}, a third of the {found.lowest:.2g} where the "
            f"loss is lowest (it falls fastest at {found.steepest:.2g}); curve in "
            f"{self.folder / RATE_PICTURE}"
        )
        return found

    def _prepare(self, recipe: Recipe, last: Path | None, choose: Collection[str]) -> _Prepared:
        """Read the data and build what trains on them.

        Args:
            recipe: What to learn.
            last: The checkpoint to go on from, so that the weights to start with are not read.
            choose: Fields of the recipe to choose from the data and the time.
        """
        refuse_output_within(self.data, self.folder)
        self._require_sources(recipe)
        dataset = load_recipe_dataset(
            self.data,
            recipe,
            validation=self.validation,
            progress=self.progress and self.place.is_first,
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
        dataset = self._with_votes(dataset, votes, recipe)
        targets = self._targets(dataset, recipe, votes)
        balance = balance_table(dataset.train, len(dataset.classes), recipe.balance, targets)
        warnings = list_warnings(dataset, dataset.holdout_share)
        if self.place.is_first:
            self._introduce(dataset, balance, warnings)
        if votes is not None and dataset.test is not None:
            votes.majority(dataset.test)  # fail now, not in hours
        self._limit_threads()
        soft_labels = self._soft_labels(dataset, recipe, votes)
        teacher, doubts = self._teacher(recipe, dataset)
        initial = None
        if last is None:
            initial, more = self._initial(dataset, recipe)
            doubts += more
        for text in doubts if self.place.is_first else ():
            self.say(f"warning: {text}")

        def build(recipe: Recipe) -> Trainer:
            return Trainer(
                dataset, recipe, self.place, targets, initial, teacher, soft_labels=soft_labels
            )

        # Read before the pace is measured, so that the plan knows how long the report takes.
        others = None if self.budget is None else self._read_others(dataset, recipe)
        workload = Workload(len(dataset.train), int(balance.total.sum()), bool(self.start_from))
        recipe, plan, report = self._plan(recipe, choose, dataset, workload, build, others or {})
        trainer = build(recipe)
        if self.place.is_first:
            self.say(
                f"network {recipe.network}: {_parameters(trainer)}, "
                f"{trainer.multiply_adds / 1e6:.2f} M multiply-adds a face, "
                f"{_PRECISION_NAMES[trainer.precision]} arithmetic"
            )
            if trainer.class_weights is not None:
                weights = zip(dataset.classes, trainer.class_weights.tolist(), strict=True)
                self.say(
                    "no copies of rare classes; class weights of the loss: "
                    + ", ".join(f"{name} {weight:.3g}" for name, weight in weights)
                )
            if trainer.transferred is not None:
                names = ", ".join(map(str, self.start_from))
                self.say(f"start from {names}: {trainer.transferred}")
        return _Prepared(
            dataset=dataset,
            votes=votes,
            trainer=trainer,
            warnings=(*warnings, *doubts),
            plan=plan,
            report_seconds=report,
            others=others,
        )

    def _require_sources(self, recipe: Recipe) -> None:
        """Refuse what is missing or impossible beside the data, before these are read."""
        if self.votes is not None and not os.path.lexists(self.votes):
            raise DataError(f"{self.votes}: no such votes file.")
        if recipe.teacher_weight:
            for source in self.teachers:
                require_member(source)
        if recipe.freeze != FREEZE_NOTHING:
            Frozen(build_network(recipe.network, 2, recipe.size), recipe.freeze)

    def _train(
        self, prepared: _Prepared, last: Path | None, *, resume: RunRecord | None, overwrite: bool
    ) -> dict[str, Any]:
        dataset, votes, trainer = prepared.dataset, prepared.votes, prepared.trainer
        record = self._record(trainer.recipe, dataset, trainer)
        record = replace(record, warnings=prepared.warnings, plan=prepared.plan)
        if resume is not None:
            record = replace(record, plan=resume.plan, extensions=resume.extensions)
            trainer.extensions = [asdict(one) for one in resume.extensions]
        self._warn_of_slow_precision(trainer.precision)
        if resume is not None and resume.options is not None and record.options is not None:
            kept = replace(record.options, max_minutes=resume.options.max_minutes)
            record = replace(record, options=kept)
        if resume is not None:
            self._require_same(resume, record, started=last is not None)
            if last is not None and resume.options is not None and record.options is not None:
                # Not read again: the weights are in last.pt, and the files may be gone.
                kept = replace(record.options, start_from=resume.options.start_from)
                # So are the warnings about them.
                told = dict.fromkeys((*resume.warnings, *record.warnings))
                record = replace(record, options=kept, warnings=tuple(told))
        if last is not None:
            self._restore(trainer, last, record.extensions)
        if self.place.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            if overwrite:
                clear(self.folder)
            record.save(self.folder)
        with self._event_files(trainer, resumed=last is not None):
            trainer.train(
                self.folder,
                self.say,
                progress=self.progress,
                budget=self.budget,
                report=prepared.report_seconds,
            )
        if not self.place.is_first:
            return {}
        others = prepared.others
        if others is None:
            others = self._read_others(dataset, trainer.recipe)
        return self._report(dataset, trainer, votes, record, others)

    def _plan(
        self,
        recipe: Recipe,
        choose: Collection[str],
        dataset: Dataset,
        workload: Workload,
        build: Callable[[Recipe], Trainer],
        others: Mapping[str, NDArray[np.uint8]],
    ) -> tuple[Recipe, tuple[str, ...], float]:
        """Choose what the user left open.

        Returns:
            The recipe, what was chosen in sentences without a full stop, and the seconds that the
            report takes (0 where the run has no limit).
        """
        plan, epochs, report = [], None, 0.0
        if self.budget is not None:
            trainer = build(plan_recipe(recipe, workload, choose))
            pace = trainer.measure_pace(self.budget)
            held_out = len(dataset.validation) + len(dataset.holdout)
            test = 0 if dataset.test is None else len(dataset.test)
            report = report_seconds(pace, held_out + test + sum(map(len, others.values())))
            epochs, seconds = self.budget.plan_epochs(
                pace, steps=len(trainer.batches), held_out=held_out, report=report
            )
            # All processes train what the first one measured.
            epochs = int(sum_over_processes(epochs if self.place.is_first else 0, self.place))
            plan.append(
                f"planned for --max-minutes {self.budget.minutes:g}: {epochs} epochs of about "
                f"{seconds:.2g} seconds"
            )
        chosen = plan_recipe(recipe, workload, choose, epochs)
        if choose:
            plan.append(describe_plan(chosen, workload, choose))
        if self.place.is_first:
            for text in plan:
                self.say(text)
        return chosen, tuple(plan), report

    def _read_others(self, dataset: Dataset, recipe: Recipe) -> dict[str, NDArray[np.uint8]]:
        """Read the faces of classes that the network does not know, for the report."""
        if not self.place.is_first:
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
                f"skipped: {len(unreadable):,} pictures of other classes, such as {unreadable[0]}"
            )
        return others

    def _report(
        self,
        dataset: Dataset,
        trainer: Trainer,
        votes: Votes | None,
        record: RunRecord,
        others: Mapping[str, NDArray[np.uint8]],
    ) -> dict[str, Any]:
        """Measure the network of the best epoch, write the report, and show its main figures."""
        options = record.options or Options()
        outcome = Outcome(
            dataset,
            trainer.recipe,
            self.place.device,
            trainer.history,
            int(trainer.kept["epoch"]),
            votes,
            others,
            self.coverage,
            self.with_test,
            balance=trainer.balance,
            extensions=tuple(map(str, record.extensions)),
            sources={
                "votes_sha256": None if options.votes is None else options.votes.sha256,
                "teachers_sha256": [one.sha256 for one in options.teachers],
            },
            by_votes=bool(trainer.soft_labels),
            warnings=record.warnings,
        )
        figures = outcome.complete(self.folder)
        for text in outcome.list_warnings(figures):
            self.say(f"warning: {text}")
        self.show(f"{outcome.summary(figures)}; report in {self.folder / REPORT}")
        return figures

    def _with_votes(self, dataset: Dataset, votes: Votes | None, recipe: Recipe) -> Dataset:
        """Leave out what most annotators could not use, and tell what the votes do not cover."""
        if votes is None:
            return dataset
        tell = self.say if self.place.is_first else (lambda _: None)
        if votes.uncommon:
            tell(
                f"votes: the columns {', '.join(votes.uncommon)} are counted as votes for "
                f"something other than the classes"
            )
        if recipe.vote_weight:
            unlisted = int((~votes.lists(dataset.train)).sum())
            faces = np.flatnonzero(votes.shows_face(dataset.train))
            tell(f"left out by votes: {len(dataset.train) - len(faces):,} pictures")
            if unlisted:
                tell(
                    f"votes: {unlisted:,} of {len(dataset.train):,} training pictures are not "
                    f"listed; they are learned from their label alone"
                )
            left_out = np.setdiff1d(np.arange(len(dataset.train)), faces)
            names = (dataset.classes[label] for label in dataset.train.labels[left_out])
            inventory = dataset.inventory.without(names, VOTED_OUT)
            dataset = replace(dataset, train=dataset.train.take(faces), inventory=inventory)
            require_every_class(dataset.train, dataset.classes, "those that --votes takes away")
            total, dropped = votes.count_dropped(dataset.train)
            if dropped:
                named = ", ".join(f"{name} {count:,}" for name, count in dropped.items())
                tell(
                    f"votes: {sum(dropped.values()):,} of {total:,} on the training pictures are "
                    f"for none of the classes ({named}) and are left out; the others of each "
                    f"picture are scaled to add up to 1"
                )
        if dataset.test is not None and not votes.lists(dataset.test).all():
            listed = int(votes.lists(dataset.test).sum())
            tell(f"votes: {listed:,} of {len(dataset.test):,} test pictures are listed")
        return dataset

    def _soft_labels(
        self, dataset: Dataset, recipe: Recipe, votes: Votes | None
    ) -> dict[str, SoftLabels]:
        """Return the votes on validation and hold-out, where they judge since they are taught."""
        if not recipe.vote_weight or votes is None:
            return {}
        held_out = {"validation": dataset.validation, "holdout": dataset.holdout}
        found = {
            name: votes.soften(faces, len(dataset.classes))
            for name, faces in held_out.items()
            if len(faces)
        }
        pictures = sum(len(one.targets) for one in found.values())
        fallback = sum(one.fallback for one in found.values())
        if self.place.is_first:
            self.say(
                f"votes: they choose the epoch, temperature and threshold, on {pictures:,} "
                f"held-out pictures"
                + (f"; {fallback:,} without usable votes count by label" if fallback else "")
            )
        return found

    def _initial(self, dataset: Dataset, recipe: Recipe) -> tuple[Checkpoint | None, list[str]]:
        """Open what the run starts from, None for fresh weights; and what makes it doubtful."""
        starts = [load_start(str(path)) for path in self.start_from]
        doubts: list[str] = []
        for path, start in zip(self.start_from, starts, strict=True):
            doubts += self._doubt_held_out(
                str(path), start.training, start.metrics, dataset, recipe
            )
        return blend(starts) if starts else None, doubts

    def _record(self, recipe: Recipe, dataset: Dataset, trainer: Trainer) -> RunRecord:
        """Return what this run is begun, or gone on, with."""
        options = Options(
            self.coverage,
            self.with_test,
            None if self.votes is None else describe_source(str(self.votes)),
            tuple(describe_source(name) for name in self.teachers),
            tuple(describe_source(str(path), start=True) for path in self.start_from),
            None if self.validation is None else str(self.validation.absolute()),
            None if self.budget is None else self.budget.minutes,
        )
        return RunRecord(
            str(self.data.absolute()),
            recipe,
            options,
            trainer.digest,
            None if dataset.test is None else _digest(dataset.test),
            _PRECISION_NAMES[trainer.precision],
            tool_versions(),
        )

    def _require_same(self, then: RunRecord, now: RunRecord, *, started: bool) -> None:
        """Refuse to go on where the rest would not be what an uninterrupted run gives.

        Args:
            then: What the run was begun with.
            now: What it would go on with.
            started: An epoch is done, so that the weights to start from are not read again.

        Raises:
            RunError: The pictures, a votes file, a teacher or the arithmetic differ.
        """
        if then.data_digest not in (None, now.data_digest):
            raise RunError(
                f"{self.folder}: the training data, votes or teacher have changed since the run "
                f"was begun; begin a new one."
            )
        if then.options is not None and then.test_digest != now.test_digest:
            raise RunError(
                f"{self.folder}: the test pictures have changed since the run was begun; begin a "
                f"new one."
            )
        if then.options is not None and now.options is not None:
            sources = [
                ("--votes", (then.options.votes,), (now.options.votes,)),
                ("--teacher", then.options.teachers, now.options.teachers),
            ]
            if not started:
                sources.append(("--start-from", then.options.start_from, now.options.start_from))
            for flag, before, after in sources:
                if differing([s for s in after if s], [s for s in before if s]):
                    raise RunError(
                        f"{self.folder}: the content of {flag} has changed since the run was "
                        f"begun; begin a new one."
                    )
        if then.precision not in (None, now.precision):
            raise RunError(
                f"{self.folder}: begun in {then.precision}, and this machine would go on in "
                f"{now.precision}; go on where it was begun, or begin a new run with --precision."
            )
        if not self.place.is_first:
            return
        if then.data != now.data:
            self.say(f"data: the same pictures, read from {now.data}, before from {then.data}")
        for name, version in (then.tool_versions or {}).items():
            if (found := (now.tool_versions or {}).get(name)) != version:
                self.say(f"warning: begun with {name} {version}, gone on with {found}")

    def _restore(self, trainer: Trainer, last: Path, extensions: Sequence[Extension]) -> None:
        """Set the trainer to where the run stopped.

        Raises:
            CheckpointError: ``last.pt`` cannot be read.
            RunError: It is of other data, or its state does not fit the run.
        """
        try:
            trainer.restore(load_checkpoint(last))
            kept = trainer.kept["epoch"]  # history has the rows that it must have
            done = len(trainer.history)
            if done > trainer.recipe.epochs or not 1 <= kept <= done:
                raise ValueError("more epochs than the recipe has")
        except EmotionEdgeError:
            raise
        except Exception as error:  # torch raises what it likes for a state that does not fit
            raise RunError(f"{last}: its state does not fit the run; begin a new one.") from error
        if self.place.is_first:
            self.say(f"resuming after epoch {done}")
            self._tell_extension(trainer, extensions)
            if done == trainer.recipe.epochs:
                self.say(
                    f"all epochs are done: the report alone is made anew (--epochs N, more than "
                    f"{done}, goes on with the training)"
                )

    def _tell_extension(self, trainer: Trainer, extensions: Sequence[Extension]) -> None:
        """Show the rate at which a run goes on whose number of epochs has just been changed."""
        done = len(trainer.history)
        if done and extensions and extensions[-1].after == done:
            before = trainer.history[-1]["learning_rate"]
            now = trainer.optimizer.param_groups[0]["lr"]
            self.say(
                f"{extensions[-1]}: the learning rate was {before:.2g} and goes on at {now:.2g}"
            )

    @contextmanager
    def _event_files(self, trainer: Trainer, *, resumed: bool) -> Iterator[None]:
        """Let TensorBoard's event files follow the training, where they are wanted.

        Args:
            trainer: What is about to train.
            resumed: A run goes on; where it wrote event files, it writes more of them.
        """
        begun = resumed and (self.folder / TENSORBOARD).is_dir()
        if not self.place.is_first or not (self.tensorboard or begun):
            yield
            return
        if (missing := find_missing_module("tensorboard")) is not None:
            self.say(
                f"warning: no further event files: "
                f"{format_missing_message('TensorBoard', missing, 'tensorboard')}"
            )
            yield
            return
        with open_event_files(self.folder, trainer.history) as events:
            trainer.follow = events.add
            self.say(f"curves: tensorboard --logdir {shlex.quote(str(self.folder / TENSORBOARD))}")
            yield

    def _warn_of_slow_precision(self, precision: torch.dtype) -> None:
        """Warn where the CPU has no arithmetic of the precision, and computes it in float."""
        name = _PRECISION_NAMES[precision]
        if self.place.is_first and self.place.device.type == "cpu" and lacks_fast(name):
            self.say(
                f"warning: this CPU has no {name} arithmetic: --precision {name} is emulated, "
                f"which is slower than fp32"
            )

    def _limit_threads(self) -> None:
        """Use the CPUs that are there: more threads than CPUs cost a third of the speed."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        elif "OMP_NUM_THREADS" not in os.environ and self.place.device.type == "cpu":
            torch.set_num_threads(count_usable_cpus())

    def _targets(self, dataset: Dataset, recipe: Recipe, votes: Votes | None) -> Targets | None:
        """Mix labels and votes; None where labels alone are taught."""
        if not recipe.vote_weight:
            return None
        if votes is None:
            raise RunError("the recipe learns from votes; name their file with --votes.")
        labels = label_targets(dataset.train, len(dataset.classes))
        return mix(labels, votes.targets(dataset.train), recipe.vote_weight)

    def _teacher(self, recipe: Recipe, dataset: Dataset) -> tuple[Teacher | None, list[str]]:
        """Open the teacher, where the recipe learns from one; and what makes it doubtful."""
        if not recipe.teacher_weight:
            return None, []
        if not self.teachers:
            raise RunError("the recipe learns from a teacher; name it with --teacher.")
        members = [load_member(source, self.place.device) for source in self.teachers]
        doubts: list[str] = []
        for one in members:
            more = [name for name in one.labels if name not in dataset.classes]
            if more and self.place.is_first:
                self.say(
                    f"teacher {one.source}: also knows {', '.join(more)}; what it gives them is "
                    f"left out"
                )
            doubts += self._doubt_held_out(one.source, one.training, one.metrics, dataset, recipe)
        return Teacher(members, dataset.classes, recipe.size), doubts

    def _doubt_held_out(
        self,
        source: str,
        training: dict[str, Any],
        metrics: dict[str, Any],
        dataset: Dataset,
        recipe: Recipe,
    ) -> list[str]:
        """Return a warning where another run may have learned what is held out here.

        The draw depends on names and seed alone, so that the other run's classes do not matter.
        Where the data have grown or shrunk, another part of them is held out.
        """
        if held_out_alike(training, metrics, dataset.drawn, recipe):
            return []
        return [
            f"{source} was trained with other held-out faces: where it was trained on pictures of "
            f"{self.data.name}, it may have learned faces that are held out here, and the "
            f"held-out figures be too good"
        ]

    def _introduce(self, dataset: Dataset, balance: BalanceTable, warnings: list[str]) -> None:
        for line in dataset.notes:
            self.say(line)
        for line in dataset.skipped[:10]:
            self.say(f"skipped: {line}")
        if len(dataset.skipped) > 10:
            self.say(f"skipped: {len(dataset.skipped) - 10:,} more")
        for line in dataset.passed_over:
            self.say(f"passed over: {line}")
        for line in warnings:
            self.say(f"warning: {line}")
        self.show(data_table(dataset) + "\n")
        self.show(class_table(dataset, balance))
        self.show(str(dataset.audit))
        if dataset.skipped:
            self.show(f"skipped: {len(dataset.skipped):,} pictures could not be used")


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> RunRecord | None:
    """Make sure that a run may write to `folder`; return what the run to resume was begun with.

    Raises:
        RunError: The folder holds something and neither flag was given, or nothing to resume.
    """
    if resume:
        return read_record(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: a file, not a folder to write a run to.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise RunError(
            f"{folder}: not empty; choose another folder with -o, go on with --resume, "
            f"or replace the run with --overwrite."
        )
    return None


def prepare_search_folder(folder: Path, *, overwrite: bool) -> None:
    """Make sure that the search for a learning rate may write to `folder`.

    Raises:
        RunError: It is a file, or holds the result of a search and `overwrite` is not set.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: a file, not a folder to write the curve to.")
    if not overwrite and any((folder / name).exists() for name in (RATE_CSV, RATE_PICTURE)):
        raise RunError(
            f"{folder}: holds a learning-rate search already; choose another folder with -o, or "
            f"replace its files with --overwrite."
        )


def clear(folder: Path) -> None:
    """Remove an earlier run."""
    for name in (RUN, HISTORY, BEST, LAST):
        (folder / name).unlink(missing_ok=True)
    for name in (REPORT, TENSORBOARD):
        shutil.rmtree(folder / name, ignore_errors=True)


def _digest(faces: Faces) -> str:
    """Return the SHA-256 of pixels and labels."""
    digest = hashlib.sha256(faces.labels.tobytes())
    digest.update(faces.pixels.tobytes())
    return digest.hexdigest()


def _parameters(trainer: Trainer) -> str:
    """Return how many parameters a network has, and how many of them are trained."""
    every = sum(one.numel() for one in trainer.network.parameters())
    frozen = trainer.frozen
    if not frozen.layers:
        return f"{every:,} parameters"
    trained = parameter_count(trainer.network)
    return (
        f"{every:,} parameters, {trained:,} of them trained (the first {frozen.layers} of "
        f"{frozen.of} layers are frozen)"
    )
