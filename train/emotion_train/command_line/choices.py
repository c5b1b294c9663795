"""Checks and defaults of the options of ``emotion-train`` that depend on each other."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from emotion_runtime.labels import check_labels
from emotion_train.class_weights import NO_WEIGHTS, check_class_weights
from emotion_train.recipe import DROP_DUPLICATES, FREEZE_NOTHING, KEEP_DUPLICATES, NO_BALANCE

_DEFAULT_TEACHER_WEIGHT = 0.5

# Options without an effect on the learning-rate range test.
_UNUSED_BY_RANGE_TEST = (
    "max_minutes",
    "patience",
    "learning_rate",
    "epochs",
    "schedule",
    "warmup",
    "averaging",
    "coverage",
    "no_test",
)
_NOT_REPEATED = (
    "output",
    "overwrite",
    "find_learning_rate",
    "learning_rate",
    "quiet",
    "verbose",
)


def is_given(context: click.Context, parameter: str) -> bool:
    """Return whether the user gave a parameter."""
    return context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def check_conflicts(values: Mapping[str, Any]) -> None:
    """Raise an error for options that exclude each other.

    Raises:
        click.UsageError: As above.
    """
    if values["resume"] and values["overwrite"]:
        raise click.UsageError("--resume continues a run, --overwrite replaces it: choose one.")
    if values["find_learning_rate"] and (values["resume"] or values["tensorboard"]):
        raise click.UsageError(
            f"--find-learning-rate trains no run: leave "
            f"{'--resume' if values['resume'] else '--tensorboard'} out."
        )
    if values["max_minutes"] is not None and values["epochs"] is not None:
        raise click.UsageError(
            "--epochs and --max-minutes both fix how long to train: use one of them."
        )


def check_requirements(values: Mapping[str, Any]) -> None:
    """Raise an error for options that need another one.

    Raises:
        click.UsageError: As above.
    """
    if values["resume"]:
        return  # the record of the run may have the other option
    for field, option in (("vote_weight", "votes"), ("teacher_weight", "teacher")):
        if values[field] and not values[option]:
            raise click.UsageError(f"--{field.replace('_', '-')} needs --{option}.")
    if values["exclude_weight"] and not values["exclude"]:
        raise click.UsageError("--exclude-weight needs --exclude.")
    if values["freeze"] != FREEZE_NOTHING and not values["start_from"]:
        raise click.UsageError("--freeze needs --start-from: fresh weights are not worth keeping.")


def refuse_inputs_within(folder: Path, inputs: Iterable[Path | str]) -> None:
    """Raise an error if a folder to replace contains inputs of the run.

    Raises:
        click.UsageError: As above.
    """
    for path in map(Path, inputs):
        if path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise click.UsageError(
                f"{path} is read by this run, and {folder} is replaced by it: name another -o."
            )


def parse_classes(listed: str | None, each: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes of --classes and --class; empty without either.

    Raises:
        click.UsageError: Both are given, or a name is invalid.
    """
    if listed is not None and each:
        raise click.UsageError("--classes and --class both name the classes: use one of them.")
    if listed is None and not each:
        return ()
    names = each
    if listed is not None:
        names = tuple(name.strip() for name in listed.split(",") if name.strip())
        if not names:
            raise click.UsageError("--classes names no class.")
        if names == ("all",):
            return names
    flag = "--class" if each else "--classes"
    try:
        check_labels(names)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}.") from error
    if len(names) == 1:
        raise click.UsageError(f"{flag} names one class; there must be two to tell apart.")
    return names


def choose_balance(
    context: click.Context, values: Mapping[str, Any], classes: tuple[str, ...]
) -> str:
    """Return the class balance: ``none`` with --no-balance or --class-weights.

    Raises:
        click.UsageError: The options exclude each other, or a class is unknown.
    """
    balance: str = values["balance"]
    makes_copies = is_given(context, "balance") and balance != NO_BALANCE
    if values["no_balance"]:
        if makes_copies:
            raise click.UsageError(
                f"--no-balance is --balance none, and --balance {balance} makes copies: choose one."
            )
        balance = NO_BALANCE
    weights = values["class_weights"]
    if weights == NO_WEIGHTS:
        return balance
    if makes_copies:
        raise click.UsageError(
            f"--class-weights would weight the classes a second time, after the copies of "
            f"--balance {balance}; use --balance none with it."
        )
    if classes and classes != ("all",):
        try:
            check_class_weights(weights, classes)
        except ValueError as error:
            raise click.UsageError(f"--class-weights: {error}.") from error
    return NO_BALANCE


def choose_exclusion(text: str | None) -> dict[str, Any]:
    """Return the fields ``audit``, the file, and ``exclude``, the rule, of --exclude.

    Raises:
        ValueError: The number is out of range. The message is a sentence without a full stop.
    """
    if text is None:
        return {"audit": None, "exclude": ""}
    from emotion_train.data.exclusion import parse_exclusion

    try:
        path, rule = parse_exclusion(text)
    except ValueError as error:
        raise ValueError(f"--exclude: {error}") from error
    return {"audit": path, "exclude": rule}


def choose_teacher_weight(context: click.Context, values: Mapping[str, Any]) -> float:
    """Return the weight of the teacher, which has another default with --teacher."""
    weight: float = values["teacher_weight"]
    if values["teacher"] and not is_given(context, "teacher_weight"):
        return _DEFAULT_TEACHER_WEIGHT
    return weight


def choose_duplicates(values: Mapping[str, Any]) -> str:
    """Return what to do with duplicates.

    Raises:
        click.UsageError: The options exclude each other.
    """
    if values["drop_duplicates"] and values["keep_duplicates"]:
        raise click.UsageError(
            "--keep-duplicates keeps what --drop-duplicates leaves out: choose one."
        )
    return KEEP_DUPLICATES if values["keep_duplicates"] else DROP_DUPLICATES


def read_initial_network(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields ``network`` and ``size`` of the initial weights.

    Raises:
        click.UsageError: The user gave another network or size.
    """
    from emotion_train.checkpoints.transfer import average_weights, load_initial

    paths = values["start_from"]
    initial = average_weights([load_initial(str(path)) for path in paths])
    fields = {"network": initial.network, "size": initial.size}
    for field, value in fields.items():
        if is_given(context, field) and values[field] != value:
            raise click.UsageError(
                f"--start-from {paths[0]} is of the {field} {value}, and --{field} names "
                f"{values[field]}: leave --{field} out, or start from fresh weights."
            )
    return fields


def list_unused_by_range_test(context: click.Context) -> list[str]:
    """Return the given options without an effect on the learning-rate range test."""
    return [
        f"--{name.replace('_', '-')}" for name in _UNUSED_BY_RANGE_TEST if is_given(context, name)
    ]


def repeat_arguments(context: click.Context) -> list[str]:
    """Return the arguments of a range test, to train with the same options."""
    arguments = [str(context.params["data"])]
    for option in context.command.params:
        name = option.name
        if name is None or name in _NOT_REPEATED or not isinstance(option, click.Option):
            continue
        if is_given(context, name):
            value = context.params[name]
            for one in value if option.multiple else (value,):
                arguments += [option.opts[-1], *([] if option.is_flag else [str(one)])]
    return arguments


def format_resume_command(data: Path, folder: Path) -> str:
    """Return the command that resumes a run."""
    return shlex.join(["emotion-train", str(data), "-o", str(folder), "--resume"])
