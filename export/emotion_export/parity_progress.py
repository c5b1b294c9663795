"""Shared by the commands: reading the faces of the parity check, progress, the summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_export.checkpoint_search import find_training_data
from emotion_export.parity.comparison import Comparison, ParityError
from emotion_export.parity.faces import ParityFaces, get_average_faces, read_parity_faces
from emotion_runtime.command_line.commands import fail, say
from emotion_runtime.prediction import format_count
from emotion_train.checkpoints.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tqdm import tqdm

READING_STEPS = 6  # of the progress bar; one step takes about as long as one comparison
_MIN_FACES = 1000  # with fewer, a warning


def read_faces_for_check(
    data: Path | None,
    source: Path,
    checkpoint: Checkpoint,
    wanted: int,
    log: Callable[[str], None],
) -> ParityFaces:
    """Return the faces of the parity check.

    They come from `data`, else from the training data of the run, else they are the average faces
    of the checkpoint.

    Args:
        data: A folder or CSV; None for the other two.
        source: The run folder or checkpoint.
        checkpoint: The checkpoint loaded from it.
        wanted: Number of faces.
        log: Called with each message.

    Raises:
        ParityDataError: There is no readable picture, or no average face.
    """
    data = find_training_data(source, log) if data is None else data
    if data is None:
        faces = get_average_faces(checkpoint)
    else:
        faces = read_parity_faces(data, wanted, size=checkpoint.size)
    log(f"comparing with PyTorch on {format_count(len(faces.pixels), 'face')} ({faces.source})")
    if faces.unreadable:
        log(f"skipped: {format_count(faces.unreadable, 'picture')} could not be read")
    if faces.real and len(faces.pixels) < min(wanted, _MIN_FACES):
        log(
            f"warning: fewer than {_MIN_FACES:,} faces; the parity check may miss "
            f"a label that rarely changes."
        )
    return faces


class Progress:
    """A progress bar over all stages, with the remaining time. Messages are printed above it.

    Args:
        bar: The bar of tqdm.
        quiet: Print no messages.
    """

    def __init__(self, bar: tqdm[Any], *, quiet: bool) -> None:
        self._bar, self._quiet = bar, quiet

    def advance(self, steps: int = 1) -> None:
        """Advance the bar by some steps."""
        self._bar.update(steps)

    def log(self, text: str) -> None:
        """Print a message to stderr."""
        if self._quiet:
            return
        with self._bar.external_write_mode(sys.stderr):
            say(text)


@contextmanager
def show_progress(name: str, refusal: str, steps: int, *, quiet: bool) -> Iterator[Progress]:
    """Show a progress bar on a terminal. On a parity error, print all comparisons and exit.

    Args:
        name: Name of the work, in front of the bar.
        refusal: Beginning of the error message.
        steps: Number of steps.
        quiet: Show no bar and print no messages.
    """
    from tqdm import tqdm

    try:
        # smoothing=0: the remaining time follows the mean of all steps, not of the last ones.
        with tqdm(
            total=steps, desc=name, leave=False, disable=quiet or None, smoothing=0, unit="step"
        ) as bar:
            yield Progress(bar, quiet=quiet)
    except ParityError as error:
        for comparison in error.comparisons:
            say(str(comparison))
        fail(f"{refusal}{error}")


def describe_comparisons(comparisons: Sequence[Comparison], faces: ParityFaces) -> str:
    """Return the number of comparisons and their worst figures, as a sentence."""
    agreed = min(one.label_agreement for one in comparisons)
    labels = "every label agrees" if agreed == 1 else f"{agreed:.2%} of the labels agree"
    total, fewer = len(faces.pixels), min(one.faces for one in comparisons)
    on_all = sum(one.faces == total for one in comparisons)
    few = f" and {len(comparisons) - on_all} on {fewer:,} of them" if fewer < total else ""
    return (
        f"{on_all} comparisons on {format_count(total, 'face')}{few}; largest logit difference "
        f"{max(one.max_logit_difference for one in comparisons):.1e}, {labels}"
    )
