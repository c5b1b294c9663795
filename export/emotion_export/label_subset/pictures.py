"""Draw the curves and the confusion matrix of the output `other`, beside a model file."""

from __future__ import annotations

from pathlib import Path

from emotion_export.label_subset.figures import OtherEvaluator
from emotion_export.label_subset.threshold import Thresholds
from emotion_runtime.atomic import write_atomically
from emotion_runtime.evaluate.confusion_matrix import draw_confusion_matrix
from emotion_runtime.evaluate.curves import draw_curves
from emotion_runtime.evaluate.open_set import count_confusion
from emotion_runtime.prediction import OTHER

CURVES_SUFFIX, CONFUSION_SUFFIX = (
    ".other.png",
    ".confusion.png",
)  # replace the suffix of the model file


def draw_other(path: Path, evaluator: OtherEvaluator, thresholds: Thresholds) -> None:
    """Draw the curves of `other` and the confusion matrix on held-out faces.

    Args:
        path: The model file.
        evaluator: Runs the file.
        thresholds: Its thresholds, with the held-out faces.

    Raises:
        OutputError: A picture cannot be written.
    """
    labels = evaluator.subset.labels
    outputs, truth = evaluator.compute_outputs(thresholds.true)
    open_set = evaluator.compute_open_set(thresholds.true)
    known, others = len(open_set.known), len(open_set.others)
    title = f"{path.stem}: {known:,} held-out faces of the labels, {others:,} others"
    decided = outputs.decide(thresholds.other)
    confusion = count_confusion(decided, truth, len(labels))
    for suffix, image in (
        (CURVES_SUFFIX, draw_curves(open_set, thresholds.other, title)),
        (CONFUSION_SUFFIX, draw_confusion_matrix(confusion, (*labels, OTHER), title)),
    ):
        with write_atomically(path.with_suffix(suffix)) as temporary:
            image.save(temporary)
