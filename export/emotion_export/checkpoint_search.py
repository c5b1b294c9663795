"""Find the checkpoint of a model file, and the data that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

import emotion_models
from emotion_export.errors import ExportError
from emotion_export.parity_report import WEIGHTS_KEY
from emotion_runtime.errors import SourceError
from emotion_runtime.evaluate.split_list import read_test_paths
from emotion_runtime.model.contract import Contract
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.checkpoints.transfer import hash_weights
from emotion_train.errors import CheckpointError, RunError
from emotion_train.run_folder import RunFolder
from emotion_train.run_record import read_run_json

RUNS = Path("runs")  # the default output of emotion-train
_DIGITS_SHOWN = 16  # of a digest in messages


def find_newest_run() -> Path:
    """Return the run folder with the newest checkpoint.

    Raises:
        click.UsageError: There is none.
    """
    found = _list_runs()
    if not found:
        raise click.UsageError(
            f"no run in {RUNS}/; name one with --checkpoint, or make one with emotion-train."
        )
    return found[0].parent


def get_recorded_weights(contract: Contract) -> str | None:
    """Return the digest of the weights that a file was exported from; None if not recorded."""
    digest = contract.parity.get(WEIGHTS_KEY)
    return digest if isinstance(digest, str) else None


def load_named_checkpoint(
    model: Path, contract: Contract, source: Path, log: Callable[[str], None]
) -> Checkpoint:
    """Load a checkpoint and check that a model file was exported from it.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ExportError: The file was exported from other weights.
    """
    checkpoint = load_checkpoint(source)
    recorded, found = get_recorded_weights(contract), hash_weights(checkpoint.weights)
    if recorded is None:
        log(
            f"warning: {model} does not record its checkpoint; {source} may be another one "
            f"with the same labels"
        )
    elif recorded != found:
        raise ExportError(
            f"{model}: was exported from other weights (sha256 {recorded[:_DIGITS_SHOWN]}…) than "
            f"those of {source} ({found[:_DIGITS_SHOWN]}…); give its own checkpoint with "
            f"--checkpoint."
        )
    return checkpoint


def find_checkpoint(
    model: Path, contract: Contract, log: Callable[[str], None]
) -> tuple[Path, Checkpoint]:
    """Find the checkpoint that a model file was exported from, by the digest of its weights.

    The runs in ``runs/`` are searched first, newest first, then the released checkpoints.

    Raises:
        click.UsageError: The file does not record its checkpoint, or the checkpoint is not found.
    """
    recorded = get_recorded_weights(contract)
    if recorded is None:
        raise click.UsageError(
            f"{model}: does not record its checkpoint (files of export_module and of earlier "
            f"versions do not); give the checkpoint with --checkpoint."
        )
    seen = 0
    for path in _list_candidates():
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            log(f"skipped: {error}")
            continue
        seen += 1
        if hash_weights(checkpoint.weights) == recorded:
            return path, checkpoint
    raise click.UsageError(
        f"{model}: none of the {seen:,} checkpoints found in {RUNS}/ and among the released ones "
        f"has its weights (sha256 {recorded[:_DIGITS_SHOWN]}…); give its checkpoint with "
        f"--checkpoint."
    )


def find_training_data(source: Path, log: Callable[[str], None]) -> Path | None:
    """Return the path of a run's training data; None if it is unknown or no longer exists.

    Args:
        source: A run folder, or a checkpoint in it.
        log: Called with a message if the data are not found.
    """
    folder = source if source.is_dir() else source.parent
    if not RunFolder(folder).record.exists():
        return None
    try:
        data = Path(read_run_json(folder)["data"])
    except (RunError, KeyError, TypeError):
        log(f"{RunFolder(folder).record}: damaged; the path of the training data cannot be read")
        return None
    if not data.exists():
        log(f"{RunFolder(folder).record}: the training data are no longer at {data}")
        return None
    return data


def find_test_folder(source: Path) -> Path | None:
    """Return the folder of a run's test pictures; None if there is none."""
    data = find_training_data(source, lambda _: None)
    folder = None if data is None else data / "test"
    return folder if folder is not None and folder.is_dir() else None


def list_evaluation_arguments(source: Path) -> tuple[str, ...] | None:
    """Return the arguments of emotion-eval for a run's test set; None if it has none.

    Args:
        source: A run folder, or a checkpoint in it.
    """
    test = find_test_folder(source)
    if test is not None:
        return (str(test),)
    data = find_training_data(source, lambda _: None)
    splits = RunFolder(source if source.is_dir() else source.parent).splits
    try:
        if data is None or not data.is_dir() or not read_test_paths(splits):
            return None
    except SourceError:
        return None  # no test set, or no list of it
    if data.is_relative_to(Path.cwd()):
        data = data.relative_to(Path.cwd())
    return (str(data), "--splits", str(splits))


def _list_runs() -> list[Path]:
    """Return the checkpoints of the runs, newest first."""
    return sorted(RUNS.glob("*/best.pt"), key=lambda path: path.stat().st_mtime, reverse=True)


def _list_candidates() -> Iterator[Path]:
    yield from _list_runs()
    yield from map(emotion_models.checkpoint_path, emotion_models.checkpoint_names())
