"""Options of a resumed run: they must agree with those of its start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from emotion_runtime.prediction import format_count
from emotion_train.command_line.choices import is_given
from emotion_train.data.exclusion import find_audit_table
from emotion_train.recipe import KEEP_DUPLICATES, Recipe
from emotion_train.run_folder import RunFolder
from emotion_train.run_record import (
    Extension,
    InputFile,
    RunOptions,
    RunRecord,
    describe_input,
    have_changed,
)

# Further options that set a field of the recipe.
_OTHER_OPTIONS = {"classes": ("each_class",), "balance": ("no_balance",)}


def extend_record(record: RunRecord, epochs: int, folder: Path) -> RunRecord:
    """Return the record of a run with another number of epochs.

    Raises:
        click.UsageError: The run has completed more epochs.
    """
    if epochs == record.recipe.epochs:
        return record
    from emotion_train.checkpoints.checkpoint import load_checkpoint

    last = RunFolder(folder).last_checkpoint
    completed = load_checkpoint(last).training.get("epoch") if last.exists() else 0
    if not isinstance(completed, int):
        return record  # of a damaged checkpoint, which is reported later
    if epochs < completed:
        raise click.UsageError(
            f"the run has done {format_count(completed, 'epoch')} already: --epochs {epochs} "
            f"cannot end it earlier; name {completed} or more."
        )
    extension = Extension(completed, record.recipe.epochs, epochs)
    return replace(
        record,
        recipe=replace(record.recipe, epochs=epochs),
        extensions=(*record.extensions, extension),
    )


def refuse_recipe_changes(context: click.Context, requested: Recipe, stored: Recipe) -> None:
    """Raise an error for options that differ from the recipe of the run to resume.

    Raises:
        click.UsageError: As above.
    """
    requested_values = requested.to_dict()
    for field, value in stored.to_dict().items():
        wanted = requested_values[field]
        given = any(is_given(context, name) for name in (field, *_OTHER_OPTIONS.get(field, ())))
        if field == "duplicates":
            if is_given(context, "drop_duplicates") and value != KEEP_DUPLICATES:
                continue
            given = is_given(context, "keep_duplicates") or is_given(context, "drop_duplicates")
        if wanted == ["all"]:
            continue  # the record has the names; changed data are reported later
        if given and wanted != value:
            raise click.UsageError(
                f"the run to resume has {field} {value}, not {wanted}; start a new run instead "
                f"(--start-from RUN_DIR starts with its weights)."
            )


def refuse_other_minutes(minutes: float | None, record: RunRecord) -> None:
    """Raise an error for another time limit than that of the run to resume.

    Raises:
        click.UsageError: As above.
    """
    stored = None if record.options is None else record.options.max_minutes
    if minutes not in (None, stored):
        raise click.UsageError(
            f"the run to resume has {format_count(record.recipe.epochs, 'epoch')}, and continues "
            f"to the last of them; leave --max-minutes out."
        )


def resume_settings(
    context: click.Context,
    settings: dict[str, Any],
    record: RunRecord,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return the settings of `Run` for the run to resume.

    Args:
        context: Tells which options were given.
        settings: The settings from the options of this command.
        record: The record of the run.
        tell: Receives a warning about records of older versions.

    Raises:
        click.UsageError: An option differs from that at the start of the run.
    """
    stored = record.options
    if stored is None:
        tell(
            "warning: run.json is of an older emotion-edge, which did not record --votes, "
            "--teacher, --start-from, --coverage and --no-test; they are taken from this "
            "command, and must be those of the first"
        )
        return settings
    _refuse_other_files(settings, stored)
    if settings["validation"] is not None and stored.validation is None:
        raise click.UsageError(
            "the run to resume was started without --val; leave it out to continue."
        )
    if is_given(context, "coverage") and settings["coverage"] != stored.coverage:
        raise click.UsageError(
            f"the run to resume has --coverage {stored.coverage:g}; leave it out to continue."
        )
    if not settings["with_test"] and stored.with_test:
        raise click.UsageError(
            "the run to resume was started without --no-test; leave it out to continue."
        )
    votes = None if stored.votes is None else Path(stored.votes.name)
    exclude = None if stored.exclude is None else Path(stored.exclude.name)
    validation = None if stored.validation is None else Path(stored.validation)
    return {
        "votes": settings["votes"] or votes,
        "exclude": settings["exclude"] or exclude,
        "teachers": settings["teachers"] or tuple(one.name for one in stored.teachers),
        "start_from": settings["start_from"] or tuple(Path(one.name) for one in stored.start_from),
        "validation": settings["validation"] or validation,
        "coverage": stored.coverage,
        "with_test": stored.with_test,
    }


def _refuse_other_files(settings: dict[str, Any], stored: RunOptions) -> None:
    """Raise an error if other input files are given than at the start of the run.

    Raises:
        click.UsageError: As above.
    """
    votes = [] if settings["votes"] is None else [settings["votes"]]
    exclude = [] if settings["exclude"] is None else [find_audit_table(settings["exclude"])]
    files: list[tuple[str, Sequence[Any], Sequence[InputFile]]] = [
        ("--votes", votes, [stored.votes] if stored.votes else []),
        ("--exclude", exclude, [stored.exclude] if stored.exclude else []),
        ("--teacher", settings["teachers"], stored.teachers),
        ("--start-from", settings["start_from"], stored.start_from),
    ]
    for flag, given, before in files:
        if not given:
            continue
        now = [describe_input(str(one), start=flag == "--start-from") for one in given]
        if have_changed(before, now):
            names = ", ".join(one.name for one in before) or "none"
            raise click.UsageError(
                f"the run to resume has another {flag} ({names}); leave {flag} out to continue."
            )
