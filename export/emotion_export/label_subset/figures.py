"""Measure the output `other` of a model file on labelled faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from emotion_export.label_subset.subset import LabelSubset
from emotion_export.parity.comparison import Infer, run_in_batches
from emotion_runtime.evaluate.metrics import measure_probabilities
from emotion_runtime.evaluate.open_set import OpenSet, compute_share, count_confusion
from emotion_runtime.model.outputs import Outputs
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.evaluation import measure, predict_logits

BY_LABELS = "labels of the data"
BY_VOTES = "strict majority of the annotators' votes"


@dataclass(frozen=True, eq=False)
class TrueClasses:
    """The true classes of labelled faces.

    Attributes:
        source: `BY_LABELS` or `BY_VOTES`.
        faces: The faces whose class is known; their labels are classes of the network.
        chosen: Which of all faces these are, bool, shape (all,).
    """

    source: str
    faces: Faces
    chosen: NDArray[np.bool_]

    @property
    def left_out(self) -> int:
        """Return the number of faces left out because no class has a strict majority of votes."""
        return int((~self.chosen).sum())


def use_labels(faces: Faces) -> TrueClasses:
    """Return the labels of the data as true classes."""
    return TrueClasses(BY_LABELS, faces, np.ones(len(faces), np.bool_))


def use_majority_votes(faces: Faces, votes: Votes) -> TrueClasses:
    """Return the strict majority of the votes as true classes; faces without one are left out.

    Raises:
        DataError: None of the faces has votes.
    """
    majority = votes.find_majority(faces)
    chosen = majority >= 0
    kept = faces.take(np.flatnonzero(chosen))
    return TrueClasses(BY_VOTES, Faces(kept.pixels, majority[chosen], kept.names), chosen)


def make_open_set(outputs: Outputs, truth: NDArray[np.int64]) -> OpenSet:
    """Return `other` on faces of the labels and on faces of other classes.

    Args:
        outputs: Of n faces, with `other`.
        truth: Index of each true label, shape (n,); for ``other``, the number of labels.

    Raises:
        ValueError: There is no output `other`.
    """
    if outputs.other is None:
        raise ValueError("no output other")
    labels = outputs.probabilities.shape[1]
    known = truth < labels
    right = outputs.probabilities.argmax(axis=1) == truth
    return OpenSet(outputs.other[known], right[known], outputs.other[~known])


def measure_other(
    outputs: Outputs, true: TrueClasses, subset: LabelSubset, threshold: float
) -> dict[str, Any]:
    """Measure `other` on faces whose class is known.

    Args:
        outputs: Outputs of the file for the faces of `true`.
        true: Their true classes.
        subset: The labels and the other classes.
        threshold: Threshold of `other`.

    Returns:
        JSON values: those of `OpenSet.to_dict`, the source of the true classes, the accuracy on
        faces of the labels without `other`, the share of each other class that gets a label, and
        the confusion matrix.
    """
    truth = subset.map_labels(true.faces.labels)
    known = truth < len(subset.kept)
    decided = outputs.decide(threshold)
    named = decided < len(subset.kept)
    others = {}
    for index in subset.dropped:
        members = true.faces.labels == index
        count = int(members.sum())
        others[subset.classes[index]] = {
            "pictures": count,
            "named": compute_share(int(named[members].sum()), count),
        }
    figures = make_open_set(outputs, truth).to_dict(threshold)
    accuracy = None
    if known.any():
        metrics = measure_probabilities(outputs.probabilities[known], truth[known])
        accuracy = round(metrics.accuracy, 6)
    return {
        "truth": true.source,
        "left_out": true.left_out,
        "accuracy": accuracy,
        **figures,
        "other_classes": others,
        "labels": [*subset.labels, "other"],
        "confusion_matrix": count_confusion(decided, truth, len(subset.kept)).tolist(),
    }


@dataclass(frozen=True, eq=False)
class OtherEvaluator:
    """Measures a file with the output `other` on labelled faces.

    Attributes:
        infer: Runs the file.
        network: The float network with all classes.
        checkpoint: Its checkpoint.
        subset: The labels that the file keeps.
        threshold: Threshold of `other`.
        votes: The annotators' votes; None to use only the labels of the data.
    """

    infer: Infer
    network: nn.Module
    checkpoint: Checkpoint
    subset: LabelSubset
    threshold: float
    votes: Votes | None

    def measure(self, faces: Faces) -> dict[str, Any]:
        """Return the figures of one split as JSON values.

        The accuracy of the kept labels is measured on faces with one of these labels in the data.
        The figures of `other` and of all classes are given by the labels of the data, and also by
        the votes if there are any.

        Args:
            faces: Labelled with the classes of the network.
        """
        outputs = run_in_batches(self.infer, faces.pixels)
        every = predict_logits(self.network, faces.pixels)
        truth = self.subset.map_labels(faces.labels)
        known = truth < len(self.subset.kept)
        temperature = self.checkpoint.temperature
        metrics = measure(outputs.logits[known], truth[known], temperature)
        figures = metrics.to_dict(self.subset.labels)
        trues = [use_labels(faces)] + (
            [] if self.votes is None else [use_majority_votes(faces, self.votes)]
        )
        for true in trues:
            figures |= self._measure_against(true, outputs, every)
        return figures

    def _measure_against(
        self, true: TrueClasses, outputs: Outputs, every: NDArray[np.float32]
    ) -> dict[str, Any]:
        """Return the figures of `other` and of all classes for one source of true classes."""
        chosen = true.chosen
        other = None if outputs.other is None else outputs.other[chosen]
        some = Outputs(outputs.logits[chosen], outputs.probabilities[chosen], other)
        classes = self.checkpoint.labels
        all_classes = measure(every[chosen], true.faces.labels, self.checkpoint.temperature)
        present = all_classes.support > 0
        figures = {
            "other": measure_other(some, true, self.subset, self.threshold),
            "every_class": {
                "truth": true.source,
                "pictures": len(true.faces),
                "accuracy": round(all_classes.accuracy, 6),
                "macro_f1": round(float(all_classes.f1[present].mean()), 6),
                "classes": [name for name, there in zip(classes, present, strict=True) if there],
            },
        }
        if true.source == BY_VOTES or self.votes is None:
            return figures
        return {f"{name}_by_labels": one for name, one in figures.items()}

    def compute_outputs(self, true: TrueClasses) -> tuple[Outputs, NDArray[np.int64]]:
        """Return the outputs of the file for faces whose class is known, and their true labels."""
        return run_in_batches(self.infer, true.faces.pixels), self.subset.map_labels(
            true.faces.labels
        )

    def compute_open_set(self, true: TrueClasses) -> OpenSet:
        """Return `other` on faces whose class is known."""
        return make_open_set(*self.compute_outputs(true))


def describe_other(metrics: dict[str, Any]) -> list[str]:
    """Return the figures of a file on held-out faces as lines of text.

    Args:
        metrics: From `OtherEvaluator.measure`.
    """
    figures, every = metrics["other"], metrics["every_class"]
    named = ", ".join(
        f"{name} {one['named']:.1%} of {one['pictures']:,}"
        for name, one in figures["other_classes"].items()
        if one["named"] is not None
    )
    left_out = ""
    if figures["left_out"]:
        left_out = f"; {figures['left_out']:,} held-out faces without one are left out"
    fold = figures.get("out_of_fold") or {}
    out_of_fold = []
    if fold.get("coverage") is not None and fold.get("others_unnamed") is not None:
        out_of_fold = [
            f"  on faces that the threshold was not chosen on (five-fold): {fold['coverage']:.1%} "
            f"get a label, {fold['others_unnamed']:.1%} get other"
        ]
    return [
        f"held-out faces, by the {figures['truth']}{left_out}:",
        f"  {figures['pictures']:,} of the labels: {figures['accuracy']:.2%} accuracy without "
        f"other; {figures['coverage']:.1%} get a label at the threshold "
        f"{figures['threshold']:.2f}, {figures['named_correctly']:.1%} the right one",
        f"  {figures['other_pictures']:,} of other classes: {figures['others_unnamed']:.1%} get "
        f"other; still labelled: {named}",
        *out_of_fold,
        f"  AUROC of other {figures['auroc']:.4f}; {every['accuracy']:.2%} accuracy of "
        f"{len(every['classes'])} classes on {every['pictures']:,} faces",
    ]
