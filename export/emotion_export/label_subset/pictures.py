"""Pictures of what the output `other` does on held-out faces, beside a model file."""

from __future__ import annotations

from pathlib import Path

from emotion_export.label_subset.figures import FileFigures
from emotion_export.label_subset.threshold import Thresholds
from emotion_runtime.atomic import write_atomically
from emotion_runtime.evaluate.confusion_matrix import draw_confusion_matrix
from emotion_runtime.evaluate.curves import draw_curves
from emotion_runtime.evaluate.open_set import count_confusion
from emotion_runtime.prediction import OTHER

CURVES, CONFUSION = ".other.png", ".confusion.png"  # in the place of the model file's suffix


def draw_other(path: Path, measured: FileFigures, thresholds: Thresholds) -> None:
    """Draw the curves of `other` and the confusion matrix.

    Args:
        path: The model file.
        measured: Runs it.
        thresholds: Its thresholds, and the held-out faces.

    Raises:
        OutputError: A picture cannot be written.
    """
    labels = measured.subset.labels
    outputs, truth = measured.outputs(thresholds.true)
    open_set = measured.open_set(thresholds.true)
    known, others = len(open_set.known), len(open_set.others)
    title = f"{path.stem}: {known:,} held-out faces of the labels, {others:,} others"
    decided = outputs.decide(thresholds.other)
    confusion = count_confusion(decided, truth, len(labels))
    for suffix, image in (
        (CURVES, draw_curves(open_set, thresholds.other, title)),
        (CONFUSION, draw_confusion_matrix(confusion, (*labels, OTHER), title)),
    ):
        with write_atomically(path.with_suffix(suffix)) as temporary:
            image.save(temporary)
