"""Resuming a run: checks that nothing has changed, and the state to continue from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from emotion_runtime.errors import EmotionEdgeError
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.errors import RunError
from emotion_train.run_record import Extension, RunOptions, RunRecord, have_changed
from emotion_train.training.trainer import Trainer


def merge_records(now: RunRecord, then: RunRecord, *, has_checkpoint: bool) -> RunRecord:
    """Return the record of a resumed run.

    Args:
        now: The settings with which it continues.
        then: The settings with which it started.
        has_checkpoint: An epoch is completed, so that the initial weights are not read again: their
            files, and warnings about them, are those of the start.
    """
    record = replace(now, plan=then.plan, extensions=then.extensions)
    if then.options is None or record.options is None:
        return record
    options = replace(record.options, max_minutes=then.options.max_minutes)
    if has_checkpoint:
        options = replace(options, start_from=then.options.start_from)
        warnings = dict.fromkeys((*then.warnings, *record.warnings))
        record = replace(record, warnings=tuple(warnings))
    return replace(record, options=options)


def require_same_run(
    folder: Path,
    then: RunRecord,
    now: RunRecord,
    *,
    has_checkpoint: bool,
    tell: Callable[[str], None],
) -> None:
    """Raise an error if a resumed run would differ from one without an interruption.

    Args:
        folder: The run folder, for messages.
        then: The settings with which the run started.
        now: The settings with which it would continue.
        has_checkpoint: An epoch is completed, so that the initial weights are not read again.
        tell: Receives messages about other paths and tool versions.

    Raises:
        RunError: The pictures, a votes file, a teacher or the arithmetic differ.
    """
    if then.data_digest not in (None, now.data_digest):
        raise RunError(
            f"{folder}: the training data, votes or teacher have changed since the run started; "
            f"start a new one."
        )
    if then.options is not None and then.test_digest != now.test_digest:
        raise RunError(
            f"{folder}: the test pictures have changed since the run started; start a new one."
        )
    if then.options is not None and now.options is not None:
        _require_same_files(folder, then.options, now.options, has_checkpoint=has_checkpoint)
    if then.precision not in (None, now.precision):
        raise RunError(
            f"{folder}: started in {then.precision}, and this machine would continue in "
            f"{now.precision}; continue where it was started, or start a new run with --precision."
        )
    if then.data != now.data:
        tell(f"data: the same pictures, read from {now.data}, before from {then.data}")
    for name, version in (then.tool_versions or {}).items():
        if (current := (now.tool_versions or {}).get(name)) != version:
            tell(f"warning: started with {name} {version}, continued with {current}")


def _require_same_files(
    folder: Path, then: RunOptions, now: RunOptions, *, has_checkpoint: bool
) -> None:
    """Raise an error if the content of an input file has changed.

    Raises:
        RunError: As above.
    """
    files = [
        ("--votes", (then.votes,), (now.votes,)),
        ("--exclude", (then.exclude,), (now.exclude,)),
        ("--teacher", then.teachers, now.teachers),
    ]
    if not has_checkpoint:
        files.append(("--start-from", then.start_from, now.start_from))
    for flag, before, after in files:
        if have_changed([one for one in before if one], [one for one in after if one]):
            raise RunError(
                f"{folder}: the content of {flag} has changed since the run started; start a "
                f"new one."
            )


def restore_trainer(
    trainer: Trainer, last: Path, extensions: Sequence[Extension], tell: Callable[[str], None]
) -> None:
    """Restore the state of a trainer from the last checkpoint of its run.

    Args:
        trainer: The trainer.
        last: The checkpoint.
        extensions: Each change of the number of epochs.
        tell: Receives messages about the state.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        RunError: It is of other data, or its state does not fit the run.
    """
    try:
        trainer.restore(load_checkpoint(last))
        kept = trainer.kept_row["epoch"]  # fails without the columns that are needed
        completed = len(trainer.history)
        if completed > trainer.recipe.epochs or not 1 <= kept <= completed:
            raise ValueError("more epochs than the recipe has")
    except EmotionEdgeError:
        raise
    except Exception as error:  # torch raises many types for a state that does not fit
        raise RunError(f"{last}: its state does not fit the run; start a new one.") from error
    tell(f"resuming after epoch {completed}")
    if completed and extensions and extensions[-1].after == completed:
        before = trainer.history[-1]["learning_rate"]
        now = trainer.optimizer.param_groups[0]["lr"]
        tell(f"{extensions[-1]}: the learning rate was {before:.2g} and continues at {now:.2g}")
    if completed == trainer.recipe.epochs:
        tell(
            f"all epochs are done: only the report is written again (--epochs N, more than "
            f"{completed}, continues the training)"
        )
