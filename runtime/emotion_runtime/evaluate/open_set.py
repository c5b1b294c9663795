"""Open-set recognition: how well `other` separates faces of the labels from other faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.model.outputs import is_other

_MAX_CURVE_POINTS = 21  # of a curve in JSON: every 5 % of coverage


@dataclass(frozen=True)
class OperatingPoint:
    """The result of one threshold of `other`; a face is named if it gets one of the labels.

    Attributes:
        threshold: Faces whose `other` reaches this value are not named.
        named: Number of faces of the labels that are named.
        named_correctly: Number of these whose label is right.
        others_named: Number of faces of other classes that are named.
        known: Number of faces of the labels.
        others: Number of faces of other classes.
    """

    threshold: float
    named: int
    named_correctly: int
    others_named: int
    known: int
    others: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; shares are rounded to six places, and None without faces."""
        return {
            "threshold": round(self.threshold, 6),
            "coverage": compute_share(self.named, self.known),
            "named_correctly": compute_share(self.named_correctly, self.known),
            "others_unnamed": compute_share(self.others - self.others_named, self.others),
            "pictures": self.known,
            "other_pictures": self.others,
        }


@dataclass(frozen=True, eq=False)
class OpenSet:
    """The output `other` on labelled faces.

    Attributes:
        known: `other` of n faces that show one of the labels, float, shape (n,).
        right: Whether the most probable label of each is right, bool, shape (n,).
        others: `other` of m faces of other classes, float, shape (m,).
    """

    known: NDArray[np.floating[Any]]
    right: NDArray[np.bool_]
    others: NDArray[np.floating[Any]]

    def auroc(self) -> float | None:
        """Return the area under the ROC curve of `other`; None without faces of either kind.

        It is the probability that `other` is larger for a random face of another class than for a
        random face of the labels; equal values count half (Mann and Whitney, 1947).
        """
        if not len(self.known) or not len(self.others):
            return None
        ordered = np.sort(self.known)
        below = np.searchsorted(ordered, self.others, side="left")
        not_above = np.searchsorted(ordered, self.others, side="right")
        return float((below + not_above).mean() / 2 / len(self.known))

    def at(self, threshold: float) -> OperatingPoint:
        """Return the result of a threshold; at 1 every face is named."""
        named = ~is_other(self.known.astype(np.float32), threshold)
        others_named = ~is_other(self.others.astype(np.float32), threshold)
        return OperatingPoint(
            threshold=threshold,
            named=int(named.sum()),
            named_correctly=int((named & self.right).sum()),
            others_named=int(others_named.sum()),
            known=len(self.known),
            others=len(self.others),
        )

    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ROC curve: the share of other faces and of faces of the labels that is named.

        It has one point for each threshold that changes the result, from no face to all.
        """
        values = np.unique(np.concatenate([self.known, self.others]))
        counts = [np.searchsorted(np.sort(one), values, side="right") for one in self._both_kinds()]
        shares = [np.concatenate([[0], one]) / one[-1] for one in counts]
        return shares[1], shares[0]

    def risk_coverage(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the coverage and risk of every threshold, in the order of coverage.

        Coverage is the share of all faces that is named. Risk is the share of the named faces whose
        label is wrong, which includes all faces of other classes (Geifman and El-Yaniv, "Selective
        Classification for Deep Neural Networks", 2017).
        """
        values = np.concatenate([self.known, self.others])
        wrong = np.concatenate([~self.right, np.ones(len(self.others), np.bool_)])
        order = np.argsort(values, kind="stable")
        count = np.arange(1, len(values) + 1)
        # Faces with equal values are named together.
        last = np.append(np.diff(values[order]) > 0, True)
        return (count / len(values))[last], (np.cumsum(wrong[order]) / count)[last]

    def to_dict(self, threshold: float) -> dict[str, Any]:
        """Return JSON values: the AUROC, the result of the threshold, the risk–coverage curve."""
        auroc = self.auroc()
        coverage, risk = self.risk_coverage()
        targets = np.linspace(0, 1, _MAX_CURVE_POINTS)[1:]
        chosen = np.searchsorted(coverage, targets - 1e-9)
        return {
            "auroc": None if auroc is None else round(auroc, 6),
            **self.at(threshold).to_dict(),
            "risk_coverage": [
                [round(float(coverage[index]), 6), round(float(risk[index]), 6)]
                for index in dict.fromkeys(chosen.tolist())
            ],
        }

    def _both_kinds(self) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        return self.known, self.others


def compute_share(part: int, whole: int) -> float | None:
    """Return a share rounded to six places; None where `whole` is 0."""
    return round(part / whole, 6) if whole else None


def count_confusion(
    decided: NDArray[np.int64], truth: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return a confusion matrix with ``other`` as its last row and column.

    Args:
        decided: Index of each predicted label, `classes` for ``other``, shape (n,).
        truth: Index of each true label, `classes` for ``other``, shape (n,).
        classes: Number of labels without ``other``.

    Returns:
        Counts, int64 (classes + 1, classes + 1), rows true, columns predicted.
    """
    size = classes + 1
    counts: NDArray[np.int64] = np.bincount(truth * size + decided, minlength=size * size)
    return counts.reshape(size, size).astype(np.int64)
