"""An export as a person sees it: the faces of the parity check, a bar, and what was found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_export.checkpoint_search import find_training_data
from emotion_export.parity.comparison import Comparison, ParityError
from emotion_export.parity.faces import ParityFaces, average_parity_faces, read_parity_faces
from emotion_runtime.command_line.commands import fail, say
from emotion_train.checkpoints.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tqdm import tqdm

READING_STEPS = 6  # of the bar, in the time of a comparison
_FEW_FACES = 1000


def choose_parity_faces(
    data: Path | None,
    source: Path,
    checkpoint: Checkpoint,
    wanted: int,
    tell: Callable[[str], None],
) -> ParityFaces:
    """Read the faces named, else the run's own training data, else use the average faces.

    Args:
        data: A folder or CSV that the user named; None for the others.
        source: The run folder or checkpoint.
        checkpoint: What was loaded from it.
        wanted: How many faces.
        tell: Takes a message for a person.

    Raises:
        ParityDataError: There is no readable picture, or no average face.
    """
    data = find_training_data(source, tell) if data is None else data
    if data is None:
        faces = average_parity_faces(checkpoint)
    else:
        faces = read_parity_faces(data, wanted, size=checkpoint.size)
    tell(f"comparing with PyTorch on {len(faces.pixels):,} faces ({faces.source})")
    if faces.unreadable:
        tell(f"skipped: {faces.unreadable:,} pictures could not be read")
    if faces.real and len(faces.pixels) < min(wanted, _FEW_FACES):
        tell(
            f"warning: fewer than {_FEW_FACES:,} faces; a label that changes rarely may go unseen."
        )
    return faces


class Progress:
    """One bar over all stages, with the time that is left; lines are printed above it.

    Args:
        bar: tqdm's bar.
        quiet: Print no lines.
    """

    def __init__(self, bar: tqdm[Any], *, quiet: bool) -> None:
        self._bar, self._quiet = bar, quiet

    def advance(self, steps: int = 1) -> None:
        """Count steps as done."""
        self._bar.update(steps)

    def tell(self, text: str) -> None:
        """Print a line for a person to stderr."""
        if self._quiet:
            return
        with self._bar.external_write_mode(sys.stderr):
            say(text)


@contextmanager
def showing_progress(name: str, refusal: str, steps: int, *, quiet: bool) -> Iterator[Progress]:
    """Show a bar on a terminal; where a comparison is refused, print all and end the command.

    Args:
        name: What is done, in front of the bar.
        refusal: The beginning of the sentence that the command then ends with.
        steps: How many steps there will be.
        quiet: Show no bar and print no lines.
    """
    from tqdm import tqdm

    try:
        # The time left is that of the mean step: they are not alike, but counted in their time.
        with tqdm(
            total=steps, desc=name, leave=False, disable=quiet or None, smoothing=0, unit="step"
        ) as bar:
            yield Progress(bar, quiet=quiet)
    except ParityError as error:
        for comparison in error.comparisons:
            say(str(comparison))
        fail(f"{refusal}{error}")


def describe_comparisons(comparisons: Sequence[Comparison], faces: ParityFaces) -> str:
    """Return how many comparisons there were, and their worst figures."""
    agreed = min(one.label_agreement for one in comparisons)
    labels = "every label agrees" if agreed == 1 else f"{agreed:.2%} of the labels agree"
    total, fewer = len(faces.pixels), min(one.faces for one in comparisons)
    on_all = sum(one.faces == total for one in comparisons)
    few = f" and {len(comparisons) - on_all} on {fewer:,} of them" if fewer < total else ""
    return (
        f"{on_all} comparisons on {total:,} faces{few}; largest logit difference "
        f"{max(one.max_logit_difference for one in comparisons):.1e}, {labels}"
    )
