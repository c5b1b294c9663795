"""The thresholds of a file that keeps some of a network's classes, chosen on held-out faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from emotion_export.errors import ExportError, ParityDataError
from emotion_export.int8.labelled_faces import LabelledFaces, known_accuracy, require_known_faces
from emotion_export.label_subset.figures import TrueClasses, by_labels, by_votes, open_set_of
from emotion_export.label_subset.subset import LabelSubset
from emotion_runtime.evaluate.open_set import OpenSet, compute_share
from emotion_runtime.model.outputs import Outputs, is_other
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.evaluation import predict_logits
from emotion_train.report.confidence import choose_threshold as choose_confidence

DEFAULT_COVERAGE = 0.95
_FOLDS = 5
_STEPS = 100  # thresholds are hundredths


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The thresholds of a file with the output `other`, and the held-out faces they come from.

    Attributes:
        other: That of `other`.
        min_confidence: The confidence threshold of the labels that are kept.
        held_out: All held-out faces, with the network's classes.
        true: What they show.
        out_of_fold: What thresholds do on faces that they were not chosen on.
        judged_on: For int8: calibration faces, and held-out faces with the file's labels.
    """

    other: float
    min_confidence: float
    held_out: Faces
    true: TrueClasses
    out_of_fold: dict[str, Any]
    judged_on: LabelledFaces


def choose_thresholds(
    network: nn.Module,
    checkpoint: Checkpoint,
    subset: LabelSubset,
    labelled: LabelledFaces | None,
    votes: Votes | None = None,
    *,
    coverage: float = DEFAULT_COVERAGE,
    say: Callable[[str], None] = lambda _: None,
) -> Thresholds:
    """Choose the thresholds on the network's own outputs for held-out faces.

    Args:
        network: Knows every class.
        checkpoint: Its temperature, confidence threshold and figures.
        subset: The labels that the file keeps.
        labelled: The held-out faces of the run.
        votes: The annotators' votes, where they say what a face shows; None for the labels.
        coverage: Share of the faces of the labels that must be named.
        say: Takes a warning.

    Raises:
        ExportError: The held-out faces show none of the labels, or none of the other classes.
        ParityDataError: There are none.
        ParityError: They are not those of the training.
        DataError: The votes list none of them.
    """
    if labelled is None:
        raise ParityDataError(
            "the threshold of the output other is chosen on the held-out faces of the run; name "
            "its training data with --calibration DATA."
        )
    held_out = labelled.held_out
    logits = predict_logits(network, held_out.pixels)
    accuracy = float((logits.argmax(axis=1) == held_out.labels).mean())
    require_known_faces(accuracy, known_accuracy(checkpoint))
    true = by_labels(held_out) if votes is None else by_votes(held_out, votes)
    _require_both(true, subset, "held-out faces")
    expected = subset.outputs(logits[true.chosen], checkpoint.temperature)
    truth = subset.truth_of(true.faces.labels)
    outputs = Outputs(
        expected.logits,
        expected.probabilities.astype(np.float32),
        None if expected.other is None else expected.other.astype(np.float32),
    )
    open_set = open_set_of(outputs, truth)
    threshold = choose_other_threshold(open_set.known, open_set.others, coverage)
    if threshold == 1:
        say(
            f"warning: only at the threshold 1 are {coverage:.1%} of the held-out faces of the "
            f"labels named: no face is labelled other"
        )
    known = truth < len(subset.kept)
    return Thresholds(
        threshold,
        _min_confidence(checkpoint, expected.probabilities[known]),
        held_out,
        true,
        measure_out_of_fold(open_set, coverage),
        replace(labelled, held_out=replace(true.faces, labels=truth)),
    )


def _min_confidence(checkpoint: Checkpoint, chances: NDArray[np.float64]) -> float:
    """Choose the confidence threshold anew, for the coverage that the run's own one reached.

    Over fewer labels the same face has a higher confidence.

    Args:
        checkpoint: The run's.
        chances: Probabilities of the kept labels, of faces that show one, shape (n, labels).
    """
    if not checkpoint.min_confidence:
        return 0.0
    coverages = {
        row.get("min_confidence", row.get("floor")): row["coverage"]
        for row in checkpoint.metrics.get("confidence", [])
    }
    reached = coverages.get(round(checkpoint.min_confidence, 6))
    return checkpoint.min_confidence if reached is None else choose_confidence(chances, reached)


def choose_other_threshold(
    known: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], coverage: float
) -> float:
    """Return the threshold, in hundredths, that leaves the most other faces unnamed at a coverage.

    It is the lowest one of that coverage. Where higher ones leave as many other faces unnamed, it
    is the middle of these.

    Args:
        known: `other` of held-out faces that show one of the labels, shape (n,), n ≥ 1.
        others: `other` of faces of other classes, shape (m,).
        coverage: The share of the first that must be named, 0 to 1. The threshold 1 names every
            face.
    """
    steps = np.arange(_STEPS)
    thresholds = steps / _STEPS
    faces, strangers = known.astype(np.float32), others.astype(np.float32)
    named = np.array([1 - float(is_other(faces, t).mean()) for t in thresholds])
    unnamed = np.array([int(is_other(strangers, t).sum()) for t in thresholds])
    covering = steps[named >= coverage]
    if not len(covering):
        return 1.0
    best = covering[unnamed[covering] == unnamed[covering[0]]]
    return int(best[0] + best[-1]) // 2 / _STEPS


def measure_out_of_fold(open_set: OpenSet, coverage: float) -> dict[str, Any]:
    """Measure thresholds on faces that they were not chosen on, in five folds.

    Args:
        open_set: `other` on held-out faces.
        coverage: The share of the faces of labels that a threshold is chosen to name.

    Returns:
        JSON values: the shares of the faces of labels that are named, and of others that are not;
        None where there are fewer faces than folds.
    """
    known, others = (values.astype(np.float32) for values in (open_set.known, open_set.others))
    if len(known) < _FOLDS:
        return {"coverage": None, "others_unnamed": None}
    folds, other_folds = np.arange(len(known)) % _FOLDS, np.arange(len(others)) % _FOLDS
    named = unnamed = 0
    for fold in range(_FOLDS):
        threshold = choose_other_threshold(
            known[folds != fold], others[other_folds != fold], coverage
        )
        named += int((~is_other(known[folds == fold], threshold)).sum())
        unnamed += int(is_other(others[other_folds == fold], threshold).sum())
    return {
        "coverage": compute_share(named, len(known)),
        "others_unnamed": compute_share(unnamed, len(others)),
    }


def _require_both(true: TrueClasses, subset: LabelSubset, what: str) -> None:
    """Refuse faces from which no threshold can be taken.

    Args:
        true: What the faces show.
        subset: The labels.
        what: The faces, for the message.

    Raises:
        ExportError: None shows a label, or none shows another class.
    """
    known = subset.truth_of(true.faces.labels) < len(subset.kept)
    if not known.any() or known.all():
        names = subset.other_classes if known.all() else subset.labels
        raise ExportError(
            f"none of the {len(known):,} {what} shows {' or '.join(names)}: no threshold of the "
            f"output other can be chosen on them."
        )
