"""The command ``emotion-train``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    handle_errors,
    quiet_option,
    raise_usage_errors,
    require_extra,
    say,
    show,
    suggest_next,
    verbose_option,
    version_option,
)
from emotion_runtime.command_line.signals import INTERRUPTED_EXIT_CODE, Terminated, raise_on_signals
from emotion_train.command_line.choices import (
    check_conflicts,
    check_requirements,
    choose_balance,
    choose_duplicates,
    choose_exclusion,
    choose_teacher_weight,
    format_resume_command,
    is_given,
    list_unused_by_range_test,
    parse_classes,
    read_initial_network,
    refuse_inputs_within,
    repeat_arguments,
)
from emotion_train.command_line.options import EXAMPLES, GROUPS, RECIPE_FIELDS, add_options
from emotion_train.recipe import Recipe
from emotion_train.run_folder import RunFolder
from emotion_train.training.planning import PLANNED, choose_network

if TYPE_CHECKING:
    from emotion_train.run import Run
    from emotion_train.training.distributed import TrainingProcess


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=EXAMPLES, groups=GROUPS)
@click.argument("data", type=click.Path(path_type=Path))
@add_options
@version_option("emotion-train")
@quiet_option
@verbose_option
@click.pass_context
@handle_errors(extra="train")
def main(context: click.Context, /, **values: Any) -> None:
    """Train a network on faces and report how good it is.

    DATA is a folder DATA/{train,val,test}/<class>/*, of which train is required; or a folder
    DATA/<class>/*, which is split by file name; or a CSV with the columns path, label and perhaps
    split; or FER2013's CSV. Sub-folders of a class are read too. Pictures are converted to gray.

    RUN_DIR gets best.pt, last.pt, history.csv and report/. --resume continues an interrupted run to
    the same result. Under torchrun, several processes train together.
    """
    started_at = time.monotonic()
    check_conflicts(values)
    classes = parse_classes(values["classes"], values["each_class"])
    with raise_usage_errors():
        values.update(choose_exclusion(values["exclude"]))
    values["balance"] = choose_balance(context, values, classes)
    values["teacher_weight"] = choose_teacher_weight(context, values)
    check_requirements(values)
    require_extra("train")
    if values["tensorboard"]:
        require_extra("tensorboard", "--tensorboard")
    if values["overwrite"] and values["output"] is not None:
        refuse_inputs_within(values["output"], _list_inputs(values))
    if values["start_from"] and not (values["resume"] and values["output"]):
        values.update(read_initial_network(context, values))
    command = _make_command(context, values, classes, started_at)
    if values["overwrite"]:
        refuse_inputs_within(command.folder, _list_inputs(values))
    raise_on_signals()
    command.run()


def _list_inputs(values: dict[str, Any]) -> list[Path | str]:
    """Return the paths that a run reads."""
    inputs = [values["data"], *values["start_from"], *values["teacher"]]
    files = ("votes", "validation", "audit")
    return inputs + [values[name] for name in files if values[name] is not None]


def _make_command(
    context: click.Context, values: dict[str, Any], classes: tuple[str, ...], started_at: float
) -> _TrainCommand:
    """Return the command with recipe, folder and settings."""
    from emotion_train.training.distributed import choose_device

    if values["network"] is None:
        values["network"] = choose_network(choose_device(values["device"]))
    duplicates = choose_duplicates(values)
    if values["drop_duplicates"] and not values["quiet"]:
        say("--drop-duplicates: copies of held-out and test pictures leave train by default now")
    fields = {name: values[name] for name in RECIPE_FIELDS if values[name] is not None}
    recipe = Recipe(
        classes=classes,
        faces=values["faces"],
        duplicates=duplicates,
        exclude=values["exclude"],
        **fields,
    )
    folder = values["output"]
    if folder is None:
        suffix = "-learning-rate" if values["find_learning_rate"] else ""
        folder = Path("runs") / f"{recipe.network}{suffix}"
    return _TrainCommand(
        context=context,
        values=values,
        recipe=recipe,
        folder=folder,
        settings={
            "votes": values["votes"],
            "exclude": values["audit"],
            "teachers": values["teacher"],
            "start_from": values["start_from"],
            "validation": values["validation"],
            "coverage": values["coverage"],
            "with_test": not values["no_test"],
        },
        started_at=started_at,
    )


@dataclass(frozen=True, eq=False)
class _TrainCommand:
    """The command after the checks of its options.

    Attributes:
        context: Tells which options were given.
        values: All options, by parameter name.
        recipe: The recipe; open fields have arbitrary values.
        folder: The run folder.
        settings: Settings of `Run` which `run.json` records too.
        started_at: The start of the command, on the monotonic clock.
    """

    context: click.Context
    values: dict[str, Any]
    recipe: Recipe
    folder: Path
    settings: dict[str, Any]
    started_at: float

    def run(self) -> None:
        """Train, or find a learning rate; after an interruption, tell how to resume."""
        from emotion_train.training.distributed import count_restarts, join_processes

        resume = self.values["resume"]
        if count_restarts() and RunFolder(self.folder).record.exists():
            resume = True  # torchrun repeats the command after a failure
        try:
            with join_processes(self.values["device"]) as process:
                self._check_processes(process)
                if self.values["find_learning_rate"]:
                    self._find_learning_rate(process)
                elif resume:
                    self._resume(process)
                else:
                    self._train(process)
        except (KeyboardInterrupt, Terminated) as error:
            reason, code = "interrupted", INTERRUPTED_EXIT_CODE
            if isinstance(error, Terminated):
                reason, code = "terminated", 128 + error.number
            if RunFolder(self.folder).record.exists():
                command = format_resume_command(self.values["data"], self.folder)
                say(f"{reason}; continue with: {command}")
            else:
                say(f"{reason} before the training began; nothing was saved.")
            self.context.exit(code)

    def _check_processes(self, process: TrainingProcess) -> None:
        """Raise an error for options that do not fit the number of processes.

        Raises:
            click.UsageError: As above.
        """
        batch_size = self.values["batch_size"]
        if batch_size is not None and batch_size < process.world_size:
            raise click.UsageError(
                f"--batch-size {batch_size} is smaller than the {process.world_size} processes "
                f"that share it."
            )
        if self.values["find_learning_rate"] and process.is_distributed:
            raise click.UsageError("--find-learning-rate runs in one process, not in several.")

    def _list_open_fields(self) -> list[str]:
        """Return the fields of the recipe to choose by the data."""
        return [name for name in PLANNED if self.values[name] is None]

    def _find_learning_rate(self, process: TrainingProcess) -> None:
        is_quiet = self.values["quiet"]
        unused = list_unused_by_range_test(self.context)
        if unused and not is_quiet:
            say(f"not used by --find-learning-rate: {', '.join(unused)}")
        RunFolder(self.folder).check_new_range_test(overwrite=self.values["overwrite"])
        run = self._make_run(process)
        rate = run.find_learning_rate(self.recipe, self._list_open_fields()).suggestion
        if not is_quiet:
            arguments = repeat_arguments(self.context)
            suggest_next("", "emotion-train", *arguments, "--learning-rate", f"{rate:g}")

    def _train(self, process: TrainingProcess) -> None:
        from emotion_train.training.time_budget import TimeBudget

        overwrite, minutes = self.values["overwrite"], self.values["max_minutes"]
        if process.is_first:
            RunFolder(self.folder).check_new(overwrite=overwrite)
        budget = None
        if minutes is not None:
            budget = TimeBudget(minutes, started_at=self.started_at)
        run = replace(self._make_run(process), budget=budget)
        run.train(self.recipe, choose=self._list_open_fields(), overwrite=overwrite)
        self._suggest_export(process)

    def _resume(self, process: TrainingProcess) -> None:
        from emotion_train.command_line.resuming import (
            extend_record,
            refuse_other_minutes,
            refuse_recipe_changes,
            resume_settings,
        )
        from emotion_train.run_record import read_record

        record = read_record(self.folder)
        if is_given(self.context, "epochs"):
            record = extend_record(record, self.recipe.epochs, self.folder)
        refuse_recipe_changes(self.context, self.recipe, record.recipe)
        tell = say if process.is_first else _ignore
        settings = resume_settings(self.context, self.settings, record, tell)
        refuse_other_minutes(self.values["max_minutes"], record)
        replace(self._make_run(process), **settings).train(record.recipe, resume=record)
        self._suggest_export(process)

    def _suggest_export(self, process: TrainingProcess) -> None:
        if process.is_first and not self.values["quiet"]:
            suggest_next("", "emotion-export", "model.onnx", "--checkpoint", self.folder)

    def _make_run(self, process: TrainingProcess) -> Run:
        from emotion_train.run import Run

        is_quiet = self.values["quiet"]
        return Run(
            data=self.values["data"],
            folder=self.folder,
            process=process,
            say=_ignore if is_quiet else say,
            show=_ignore if is_quiet else show,
            threads=self.values["threads"],
            progress=not is_quiet,
            tensorboard=self.values["tensorboard"],
            **self.settings,
        )


def _ignore(_: str) -> None:
    """Print nothing."""
