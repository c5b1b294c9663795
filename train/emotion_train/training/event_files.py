"""Event files for TensorBoard, with the figures of each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# The last two repeat the figures of hold-out or validation.
_SKIPPED_COLUMNS = ("epoch", "seconds", "selection_loss", "selection_accuracy")
_KINDS = ("loss", "accuracy")


class EventFiles:
    """Writes the columns of ``history.csv`` as scalars, with the epoch as step.

    ``validation_loss`` becomes ``loss/validation``, so that all losses are in one group of charts.

    Args:
        writer: The writer of TensorBoard.
    """

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def add(self, row: Mapping[str, float]) -> None:
        """Write the figures of one epoch, and flush the file."""
        for name, value in row.items():
            if name not in _SKIPPED_COLUMNS:
                split, _, kind = name.rpartition("_")
                tag = f"{kind}/{split}" if split and kind in _KINDS else name
                self._writer.add_scalar(tag, value, int(row["epoch"]))
        self._writer.flush()


@contextmanager
def open_event_files(folder: Path, history: Sequence[Mapping[str, float]]) -> Iterator[EventFiles]:
    """Open event files in a folder, and close them at the end.

    Args:
        folder: The folder of the event files.
        history: The epochs so far. They are written first if there are no event files yet;
            otherwise TensorBoard hides the later epochs of earlier event files.
    """
    from torch.utils.tensorboard import SummaryWriter

    exists = folder.is_dir() and any(folder.iterdir())
    writer = SummaryWriter(str(folder), purge_step=len(history) + 1 if exists else None)
    events = EventFiles(writer)
    try:
        if not exists:
            for row in history:
                events.add(row)
        yield events
    finally:
        writer.close()
