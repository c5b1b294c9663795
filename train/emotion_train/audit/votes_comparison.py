"""The ranking of an audit against annotators' votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes

FIRST_COUNTS = (50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class FirstPictures:
    """The votes for the most suspicious pictures.

    Attributes:
        pictures: How many of them.
        another_class: Most of the votes are for another class of the data.
        none_of_the_classes: Most of the votes are for none of the classes.
        no_majority: Neither a class nor the other choices have more than half of the votes.
        label: Most of the votes are for the label.
    """

    pictures: int
    another_class: int
    none_of_the_classes: int
    no_majority: int
    label: int

    @property
    def precision(self) -> float:
        """Return the share of wrong labels: most of the votes are for something else."""
        return (self.another_class + self.none_of_the_classes) / self.pictures


@dataclass(frozen=True)
class VotesComparison:
    """The ranking of an audit against annotators' votes.

    Attributes:
        rated: Rated pictures.
        listed: Those in the votes file; all further figures are of these.
        agreeing: Pictures with most of the votes for their label.
        contradicting: Pictures with most of the votes for another class.
        auroc: How well the scores separate these two; None where one of them is missing.
        first: The votes for the most suspicious pictures.
    """

    rated: int
    listed: int
    agreeing: int
    contradicting: int
    auroc: float | None
    first: Sequence[FirstPictures]

    def to_figures(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        first = [{**asdict(one), "precision": one.precision} for one in self.first]
        return {**asdict(self), "first": first}


def compare_with_votes(votes: Votes, faces: Faces, scores: NDArray[np.float64]) -> VotesComparison:
    """Return how well scores find the labels that annotators contradict.

    Args:
        votes: The votes.
        faces: The rated pictures.
        scores: Their scores, float64 (m,); low means suspicious.

    Raises:
        DataError: None of the pictures is in the votes file.
    """
    from sklearn.metrics import roc_auc_score

    votes.require_some(faces)
    majority = votes.find_majority(faces)
    is_none = votes.find_none_of_classes(faces)
    agrees = majority == faces.labels
    contradicts = (majority >= 0) & ~agrees
    is_known = agrees | contradicts
    auroc = None
    if agrees.any() and contradicts.any():
        auroc = float(roc_auc_score(contradicts[is_known], -scores[is_known]))
    listed = votes.find_listed(faces)
    order = np.argsort(scores, kind="stable")
    order = order[listed[order]]  # nothing is known of the others
    counts = [count for count in FIRST_COUNTS if count <= len(order)]
    return VotesComparison(
        rated=len(faces),
        listed=int(listed.sum()),
        agreeing=int(agrees.sum()),
        contradicting=int(contradicts.sum()),
        auroc=auroc,
        first=tuple(
            FirstPictures(
                pictures=count,
                another_class=int(contradicts[order[:count]].sum()),
                none_of_the_classes=int(is_none[order[:count]].sum()),
                no_majority=int((~is_known & ~is_none)[order[:count]].sum()),
                label=int(agrees[order[:count]].sum()),
            )
            for count in counts
        ),
    )
