"""What the output `other` of a model file does on labelled faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from emotion_export.label_subset.subset import LabelSubset
from emotion_export.parity.comparison import Infer, answers_of
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
    """What labelled faces show.

    Attributes:
        source: `BY_LABELS` or `BY_VOTES`.
        faces: The n faces that show a class of the network; their labels are its classes.
        chosen: Which of all faces these are, bool, shape (all,).
    """

    source: str
    faces: Faces
    chosen: NDArray[np.bool_]

    @property
    def left_out(self) -> int:
        """Return how many faces are left out: their votes have no strict majority for a class."""
        return int((~self.chosen).sum())


def by_labels(faces: Faces) -> TrueClasses:
    """Take the labels of the data for what faces show."""
    return TrueClasses(BY_LABELS, faces, np.ones(len(faces), np.bool_))


def by_votes(faces: Faces, votes: Votes) -> TrueClasses:
    """Take what a strict majority of the votes names; faces without one are left out.

    Raises:
        DataError: The votes list none of the faces.
    """
    majority = votes.majority(faces)
    chosen = majority >= 0
    kept = faces.take(np.flatnonzero(chosen))
    return TrueClasses(BY_VOTES, Faces(kept.pixels, majority[chosen], kept.names), chosen)


def open_set_of(outputs: Outputs, truth: NDArray[np.int64]) -> OpenSet:
    """Return `other` on faces of the labels and on others.

    Args:
        outputs: Of n faces; with `other`.
        truth: Index of each true label, the number of labels for ``other``, shape (n,).
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
        outputs: Of the faces of `true`.
        true: What they show.
        subset: The labels and the other classes.
        threshold: That of `other`.

    Returns:
        JSON values: as `OpenSet.to_dict`, with where the true classes come from, the accuracy of
        the labels alone, what share of each other class is named, and the confusion matrix.
    """
    truth = subset.truth_of(true.faces.labels)
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
    figures = open_set_of(outputs, truth).to_dict(threshold)
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
class FileFigures:
    """Measures a file with the output `other` on labelled faces.

    Attributes:
        infer: Runs the file.
        network: The network that knows every class, in float.
        checkpoint: Its checkpoint.
        subset: The labels that the file keeps.
        threshold: That of `other`.
        votes: The annotators' votes, where they say what faces show.
    """

    infer: Infer
    network: nn.Module
    checkpoint: Checkpoint
    subset: LabelSubset
    threshold: float
    votes: Votes | None

    def figures(self, faces: Faces) -> dict[str, Any]:
        """Return the figures of one split, with the network's classes as labels.

        The accuracy of the kept labels is on the faces that the data give one of them; beside it
        are the figures of `other` and of every class, by the votes too where there are some.
        """
        outputs = answers_of(self.infer, faces.pixels)
        every = predict_logits(self.network, faces.pixels)
        truth = self.subset.truth_of(faces.labels)
        known = truth < len(self.subset.kept)
        temperature = self.checkpoint.temperature
        measured = measure(outputs.logits[known], truth[known], temperature)
        figures = measured.to_dict(self.subset.labels)
        trues = [by_labels(faces)] + ([] if self.votes is None else [by_votes(faces, self.votes)])
        for true in trues:
            figures |= self._against(true, outputs, every)
        return figures

    def _against(
        self, true: TrueClasses, outputs: Outputs, every: NDArray[np.float32]
    ) -> dict[str, Any]:
        """Measure against what one source says that the faces show."""
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

    def outputs(self, true: TrueClasses) -> tuple[Outputs, NDArray[np.int64]]:
        """Return the file's outputs for faces whose class is known, and the true labels, (n,)."""
        return answers_of(self.infer, true.faces.pixels), self.subset.truth_of(true.faces.labels)

    def open_set(self, true: TrueClasses) -> OpenSet:
        """Return `other` on faces whose class is known."""
        return open_set_of(*self.outputs(true))


def describe_other(metrics: dict[str, Any]) -> list[str]:
    """Return lines about a file's figures on the held-out faces, for a person.

    Args:
        metrics: As `FileFigures.figures` gives them.
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
    return [
        f"held-out faces, by the {figures['truth']}{left_out}:",
        f"  {figures['pictures']:,} of the labels: {figures['accuracy']:.2%} accuracy without "
        f"other; {figures['coverage']:.1%} are named at the threshold {figures['threshold']:.2f}, "
        f"{figures['named_correctly']:.1%} correctly",
        f"  {figures['other_pictures']:,} of other classes: {figures['others_unnamed']:.1%} are "
        f"other; still named: {named}",
        f"  AUROC of other {figures['auroc']:.4f}; {every['accuracy']:.2%} accuracy of "
        f"{len(every['classes'])} classes on {every['pictures']:,} faces",
    ]
