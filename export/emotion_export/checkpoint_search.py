"""Where the commands find the checkpoint of a model file, and the data of its training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

import emotion_models
from emotion_export.errors import ExportError
from emotion_export.export import WEIGHTS
from emotion_runtime.model.contract import Contract
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.checkpoints.transfer import hash_weights
from emotion_train.errors import CheckpointError, RunError
from emotion_train.run_folder import RunFolder
from emotion_train.run_record import read_run_json

RUNS = Path("runs")  # where emotion-train writes when not told otherwise
_SHOWN = 16  # digits of a digest in messages


def newest_run() -> Path:
    """Return the run folder whose checkpoint was written last.

    Raises:
        click.UsageError: There is none.
    """
    found = _runs()
    if not found:
        raise click.UsageError(
            f"no run in {RUNS}/; name one with --checkpoint, or make one with emotion-train."
        )
    return found[0].parent


def recorded_weights(contract: Contract) -> str | None:
    """Return the digest of the weights that a model file was exported from, where it has one."""
    digest = contract.parity.get(WEIGHTS)
    return digest if isinstance(digest, str) else None


def load_named_checkpoint(
    model: Path, contract: Contract, source: Path, tell: Callable[[str], None]
) -> Checkpoint:
    """Load the checkpoint that a user names for a model file.

    Raises:
        CheckpointError: It cannot be read.
        ExportError: The file was exported from another one.
    """
    checkpoint = load_checkpoint(source)
    recorded, found = recorded_weights(contract), hash_weights(checkpoint.weights)
    if recorded is None:
        tell(
            f"warning: {model} does not record its checkpoint, so {source} may be another one "
            f"with the same labels"
        )
    elif recorded != found:
        raise ExportError(
            f"{model}: was exported from other weights (sha256 {recorded[:_SHOWN]}…) than those "
            f"of {source} ({found[:_SHOWN]}…); name its own checkpoint with --checkpoint."
        )
    return checkpoint


def find_checkpoint(
    model: Path, contract: Contract, tell: Callable[[str], None]
) -> tuple[Path, Checkpoint]:
    """Find the checkpoint that a model file was exported from, by the digest of its weights.

    Looked at are the runs in ``runs/``, newest first, then the released checkpoints.

    Raises:
        click.UsageError: The file does not record its checkpoint, or none that is looked at is it.
    """
    recorded = recorded_weights(contract)
    if recorded is None:
        raise click.UsageError(
            f"{model}: does not record its checkpoint, as files of earlier versions and of "
            f"export_module do not; name the checkpoint with --checkpoint."
        )
    seen = 0
    for path in _candidates():
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            tell(f"passed over: {error}")
            continue
        seen += 1
        if hash_weights(checkpoint.weights) == recorded:
            return path, checkpoint
    raise click.UsageError(
        f"{model}: none of the {seen:,} checkpoints found in {RUNS}/ and among the released ones "
        f"has its weights (sha256 {recorded[:_SHOWN]}…); name its checkpoint with --checkpoint."
    )


def find_training_data(source: Path, tell: Callable[[str], None]) -> Path | None:
    """Return where a run's data were, if they are still there; tell where they are not.

    Args:
        source: A run folder, or a checkpoint in it.
        tell: Takes a message for a person.
    """
    folder = source if source.is_dir() else source.parent
    if not RunFolder(folder).record.exists():
        return None
    try:
        data = Path(read_run_json(folder)["data"])
    except (RunError, KeyError, TypeError):
        tell(f"{RunFolder(folder).record}: damaged; it does not say where the training data are")
        return None
    if not data.exists():
        tell(f"{RunFolder(folder).record}: the training data are no longer at {data}")
        return None
    return data


def find_test_folder(source: Path) -> Path | None:
    """Return the folder of a run's test pictures, if there is one."""
    data = find_training_data(source, lambda _: None)
    folder = None if data is None else data / "test"
    return folder if folder is not None and folder.is_dir() else None


def _runs() -> list[Path]:
    """Return the checkpoints of the runs, newest first."""
    return sorted(RUNS.glob("*/best.pt"), key=lambda path: path.stat().st_mtime, reverse=True)


def _candidates() -> Iterator[Path]:
    yield from _runs()
    yield from map(emotion_models.checkpoint_path, emotion_models.checkpoint_names())
