"""Open-set recognition: how well `other` tells faces of the labels from faces of other classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.model.outputs import is_other

_MAX_CURVE_POINTS = 21  # of a curve in JSON: every five points of coverage


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold of `other` does.

    Attributes:
        threshold: Faces whose `other` reaches it are not named.
        named: Faces of the labels that get one of the labels.
        named_correctly: Those of them whose label is right.
        others_named: Faces of other classes that get one of the labels.
        known: Faces of the labels.
        others: Faces of other classes.
    """

    threshold: float
    named: int
    named_correctly: int
    others_named: int
    known: int
    others: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; shares are rounded to six places, and None of no faces."""
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
        right: Which of them have the right likeliest label, bool, shape (n,).
        others: `other` of m faces of other classes, float, shape (m,).
    """

    known: NDArray[np.floating[Any]]
    right: NDArray[np.bool_]
    others: NDArray[np.floating[Any]]

    def auroc(self) -> float | None:
        """Return the area under the ROC curve of `other`; None where one kind has no face.

        It is the probability that a face of another class has the larger `other` of two, where
        equal values count half (Mann and Whitney, 1947).
        """
        if not len(self.known) or not len(self.others):
            return None
        ordered = np.sort(self.known)
        below = np.searchsorted(ordered, self.others, side="left")
        not_above = np.searchsorted(ordered, self.others, side="right")
        return float((below + not_above).mean() / 2 / len(self.known))

    def at(self, threshold: float) -> OperatingPoint:
        """Return what a threshold does; at 1 every face is named."""
        named = ~is_other(self.known.astype(np.float32), threshold)
        others_named = ~is_other(self.others.astype(np.float32), threshold)
        return OperatingPoint(
            threshold,
            int(named.sum()),
            int((named & self.right).sum()),
            int(others_named.sum()),
            len(self.known),
            len(self.others),
        )

    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the share of other faces, and of faces of the labels, that are named.

        One point for each threshold that changes something, from none named to all.
        """
        values = np.unique(np.concatenate([self.known, self.others]))
        counts = [np.searchsorted(np.sort(one), values, side="right") for one in self._both_kinds()]
        shares = [np.concatenate([[0], one]) / one[-1] for one in counts]
        return shares[1], shares[0]

    def risk_coverage(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the coverage and risk of every threshold, by rising coverage.

        Coverage is the share of all faces that are named, risk the share of the named ones that
        are named wrongly: with the wrong label, or though they show none (Geifman and El-Yaniv,
        "Selective Classification for Deep Neural Networks", 2017).
        """
        values = np.concatenate([self.known, self.others])
        wrong = np.concatenate([~self.right, np.ones(len(self.others), np.bool_)])
        order = np.argsort(values, kind="stable")
        count = np.arange(1, len(values) + 1)
        # Faces of one value are named together.
        last = np.append(np.diff(values[order]) > 0, True)
        return (count / len(values))[last], (np.cumsum(wrong[order]) / count)[last]

    def to_dict(self, threshold: float) -> dict[str, Any]:
        """Return JSON values: the AUROC, what the threshold does, and the risk–coverage curve."""
        auroc = self.auroc()
        coverage, risk = self.risk_coverage()
        places = np.linspace(0, 1, _MAX_CURVE_POINTS)[1:]
        chosen = np.searchsorted(coverage, places - 1e-9)
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
    """Return a share rounded to six places; None of nothing."""
    return round(part / whole, 6) if whole else None


def count_confusion(
    decided: NDArray[np.int64], truth: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count labels: int64 (classes + 1, classes + 1), rows true, columns predicted, `other` last.

    Args:
        decided: Index of each label, `classes` for ``other``, shape (n,).
        truth: The same of the true ones.
        classes: How many labels there are beside ``other``.
    """
    size = classes + 1
    counts: NDArray[np.int64] = np.bincount(truth * size + decided, minlength=size * size)
    return counts.reshape(size, size).astype(np.int64)
