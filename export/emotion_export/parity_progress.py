"""The parity check as a person sees it: the faces it uses, a bar, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emotion_export.checkpoint_search import find_training_data
from emotion_export.parity.comparison import Comparison, ParityError
from emotion_export.parity.faces import ParityFaces, average_parity_faces, read_parity_faces
from emotion_runtime.command_line.commands import fail, say
from emotion_train.checkpoints.checkpoint import Checkpoint

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


@contextmanager
def comparing(refusal: str, steps: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar of the comparisons; where one fails its gate, show all and end the command.

    Args:
        refusal: The beginning of the sentence that the command then ends with.
        steps: How many comparisons there will be.
        quiet: Show no bar.
    """
    from tqdm import tqdm

    try:
        with tqdm(total=steps, desc="parity", leave=False, disable=quiet or None) as bar:
            yield bar.update
    except ParityError as error:
        for comparison in error.comparisons:
            say(str(comparison))
        fail(f"{refusal}{error}")


def describe_comparisons(comparisons: Sequence[Comparison], faces: ParityFaces) -> str:
    """Return how many comparisons there were, and their worst figures."""
    agreed = min(one.label_agreement for one in comparisons)
    labels = "every label agrees" if agreed == 1 else f"{agreed:.2%} of the labels agree"
    return (
        f"{len(comparisons)} comparisons on {len(faces.pixels):,} faces; largest logit difference "
        f"{max(one.max_logit_difference for one in comparisons):.1e}, {labels}"
    )
