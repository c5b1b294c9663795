"""Event files for TensorBoard: the figures of each epoch as curves in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD = "tensorboard"  # folder in a run folder

# The last two repeat those of the hold-out, or of validation.
_LEFT_OUT = ("epoch", "seconds", "selection_loss", "selection_accuracy")
_KINDS = ("loss", "accuracy")


class EventFiles:
    """Writes the columns of ``history.csv`` as scalars, with the epoch as the step.

    ``validation_loss`` becomes ``loss/validation``, so that the losses share a group of charts.

    Args:
        writer: TensorBoard's.
    """

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def add(self, row: Mapping[str, float]) -> None:
        """Write one epoch, and wait until it is in the file."""
        for name, value in row.items():
            if name not in _LEFT_OUT:
                split, _, kind = name.rpartition("_")
                tag = f"{kind}/{split}" if split and kind in _KINDS else name
                self._writer.add_scalar(tag, value, int(row["epoch"]))
        self._writer.flush()


@contextmanager
def open_event_files(folder: Path, history: Sequence[Mapping[str, float]]) -> Iterator[EventFiles]:
    """Open event files in a run folder; close them at the end.

    Args:
        folder: The run folder.
        history: The epochs that are done. What earlier event files hold of later epochs is hidden
            by TensorBoard; where there are no event files yet, these epochs are written first.
    """
    from torch.utils.tensorboard import SummaryWriter

    place = folder / TENSORBOARD
    begun = place.is_dir() and any(place.iterdir())
    writer = SummaryWriter(str(place), purge_step=len(history) + 1 if begun else None)
    events = EventFiles(writer)
    try:
        if not begun:
            for row in history:
                events.add(row)
        yield events
    finally:
        writer.close()
