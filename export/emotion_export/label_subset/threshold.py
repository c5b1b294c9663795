"""Choose the thresholds of a file with the output `other`, on held-out faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from emotion_export import defaults
from emotion_export.errors import ExportError, ParityDataError
from emotion_export.int8.labelled_faces import (
    LabelledFaces,
    get_recorded_accuracy,
    require_known_faces,
)
from emotion_export.label_subset.figures import (
    TrueClasses,
    make_open_set,
    use_labels,
    use_majority_votes,
)
from emotion_export.label_subset.subset import LabelSubset
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_runtime.evaluate.open_set import OpenSet, compute_share
from emotion_runtime.model.outputs import Outputs, is_other
from emotion_runtime.prediction import format_count
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.evaluation import predict_logits
from emotion_train.report.confidence import choose_threshold as choose_confidence

_FOLD_COUNT = 5
_STEPS_PER_UNIT = 100  # a threshold is a multiple of 0.01
_FEW_FACES = 100  # with fewer, the coverage on new faces is uncertain by 5 points or more


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The thresholds of a file with the output `other`, and the held-out faces behind them.

    Attributes:
        other: Threshold of `other`.
        min_confidence: Confidence threshold of the labels.
        held_out: All held-out faces, labelled with the classes of the network.
        true: Their true classes.
        out_of_fold: Figures of thresholds on faces that they were not chosen on.
        labelled: For int8: calibration faces, and held-out faces with the labels of the file.
    """

    other: float
    min_confidence: float
    held_out: Faces
    true: TrueClasses
    out_of_fold: dict[str, Any]
    labelled: LabelledFaces


def choose_thresholds(
    network: nn.Module,
    checkpoint: Checkpoint,
    subset: LabelSubset,
    labelled: LabelledFaces | None,
    votes: Votes | None = None,
    *,
    coverage: float = defaults.OTHER_COVERAGE,
    log: Callable[[str], None] = lambda _: None,
) -> Thresholds:
    """Choose the thresholds from the network's outputs for held-out faces.

    Args:
        network: The network with all classes.
        checkpoint: Its temperature, confidence threshold and figures.
        subset: The labels that the file keeps.
        labelled: The held-out faces of the run.
        votes: The annotators' votes, for the true classes; None to use the labels of the data.
        coverage: Share of the faces of the labels that must not become ``other``.
        log: Called with a warning.

    Raises:
        ExportError: No held-out face shows a label, or none shows another class.
        ParityDataError: There are no held-out faces.
        ParityError: The faces are not like those of the training.
        DataError: None of the faces has votes.
    """
    if labelled is None:
        raise ParityDataError(
            "the threshold of the output other is chosen on the held-out faces of the run; give "
            "its training data with --calibration DATA."
        )
    held_out = labelled.held_out
    logits = predict_logits(network, held_out.pixels)
    accuracy = float((logits.argmax(axis=1) == held_out.labels).mean())
    require_known_faces(accuracy, get_recorded_accuracy(checkpoint))
    true = use_labels(held_out) if votes is None else use_majority_votes(held_out, votes)
    _require_both(true, subset)
    expected = subset.compute_outputs(logits[true.chosen], checkpoint.temperature)
    truth = subset.map_labels(true.faces.labels)
    outputs = Outputs(
        expected.logits,
        expected.probabilities.astype(np.float32),
        None if expected.other is None else expected.other.astype(np.float32),
    )
    open_set = make_open_set(outputs, truth)
    threshold = choose_other_threshold(open_set.known, open_set.others, coverage)
    if threshold == 1:
        log(
            f"warning: only the threshold 1 lets {coverage:.1%} of the held-out faces of the "
            f"labels keep a label: no face is labelled other"
        )
    if (few := _describe_few_faces(open_set, threshold)) is not None:
        log(f"warning: {few}")
    known = truth < len(subset.kept)
    return Thresholds(
        other=threshold,
        min_confidence=_choose_min_confidence(checkpoint, expected.probabilities[known]),
        held_out=held_out,
        true=true,
        out_of_fold=measure_out_of_fold(open_set, coverage),
        labelled=replace(labelled, held_out=replace(true.faces, labels=truth)),
    )


def _choose_min_confidence(checkpoint: Checkpoint, probabilities: NDArray[np.float64]) -> float:
    """Choose a confidence threshold with the same coverage as that of the run.

    With fewer labels, the same face has a higher confidence.

    Args:
        checkpoint: Its confidence threshold, and the coverage by threshold.
        probabilities: Of the kept labels, for faces that show one, shape (n, labels).
    """
    if not checkpoint.min_confidence:
        return 0.0
    coverages = {
        row.get("min_confidence", row.get("floor")): row["coverage"]
        for row in checkpoint.metrics.get("confidence", [])
    }
    reached = coverages.get(round(checkpoint.min_confidence, 6))
    return (
        checkpoint.min_confidence if reached is None else choose_confidence(probabilities, reached)
    )


def choose_other_threshold(
    known: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], coverage: float
) -> float:
    """Return the threshold, a multiple of 0.01, that rejects the most other faces at a coverage.

    It is the lowest threshold with that coverage. If higher ones reject as many other faces, it is
    the middle of all these.

    Args:
        known: `other` of held-out faces that show one of the labels, shape (n,), n ≥ 1.
        others: `other` of faces of other classes, shape (m,).
        coverage: Share of the first that must keep their label, 0 to 1. At the threshold 1 all
            faces do.
    """
    steps = np.arange(_STEPS_PER_UNIT)
    thresholds = steps / _STEPS_PER_UNIT
    faces, other_faces = known.astype(np.float32), others.astype(np.float32)
    coverages = np.array([1 - float(is_other(faces, t).mean()) for t in thresholds])
    rejected = np.array([int(is_other(other_faces, t).sum()) for t in thresholds])
    covering = steps[coverages >= coverage]
    if not len(covering):
        return 1.0
    best = covering[rejected[covering] == rejected[covering[0]]]
    return int(best[0] + best[-1]) // 2 / _STEPS_PER_UNIT


def measure_out_of_fold(open_set: OpenSet, coverage: float) -> dict[str, Any]:
    """Measure the choice of a threshold by five-fold cross-validation.

    Args:
        open_set: `other` on held-out faces.
        coverage: The coverage that the thresholds are chosen for.

    Returns:
        JSON values: the share of faces of the labels that keep their label, and of the others that
        become ``other``; None if there are fewer faces than folds.
    """
    known, others = (values.astype(np.float32) for values in (open_set.known, open_set.others))
    if len(known) < _FOLD_COUNT:
        return {"coverage": None, "others_unnamed": None}
    folds, other_folds = np.arange(len(known)) % _FOLD_COUNT, np.arange(len(others)) % _FOLD_COUNT
    covered = rejected = 0
    for fold in range(_FOLD_COUNT):
        threshold = choose_other_threshold(
            known[folds != fold], others[other_folds != fold], coverage
        )
        covered += int((~is_other(known[folds == fold], threshold)).sum())
        rejected += int(is_other(others[other_folds == fold], threshold).sum())
    return {
        "coverage": compute_share(covered, len(known)),
        "others_unnamed": compute_share(rejected, len(others)),
    }


def _describe_few_faces(open_set: OpenSet, threshold: float) -> str | None:
    """Return a warning if a threshold was chosen on few faces; None for enough.

    Args:
        open_set: `other` on the held-out faces.
        threshold: The threshold chosen on them.
    """
    point = open_set.at(threshold)
    if min(point.known, point.others) >= _FEW_FACES:
        return None
    low, high = compute_wilson_interval(point.named, point.known)
    return (
        f"the threshold of other was chosen on only {format_count(point.known, 'held-out face')} "
        f"of the labels and {point.others:,} of other classes; of new faces of the labels, "
        f"{low:.0%} to {high:.0%} keep a label (95 % interval)"
    )


def _require_both(true: TrueClasses, subset: LabelSubset) -> None:
    """Require faces of the labels and of other classes.

    Raises:
        ExportError: No face shows a label, or none shows another class.
    """
    known = subset.map_labels(true.faces.labels) < len(subset.kept)
    if not known.any() or known.all():
        names = subset.other_classes if known.all() else subset.labels
        raise ExportError(
            f"none of the {len(known):,} held-out faces shows {' or '.join(names)}: no threshold "
            f"of the output other can be chosen on them."
        )
