"""Confidence thresholds: the trade-off between coverage and accuracy.

A network predicts one of its classes for every face. Faces of unknown classes have, on average, a
lower confidence, so a threshold labels some of them ``uncertain``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.evaluate.metrics import compute_wilson_interval

THRESHOLDS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Coverage:
    """Coverage and accuracy at one confidence threshold.

    Attributes:
        min_confidence: The threshold; below it the label is ``uncertain``.
        coverage: Fraction of the faces of known classes at or above the threshold, 0 to 1.
        accuracy: Accuracy on these faces; NaN if there are none.
        others: Fraction of the faces of each unknown class at or above the threshold.
        faces: The number of faces of known classes, and of those that are covered.
    """

    min_confidence: float
    coverage: float
    accuracy: float
    others: dict[str, float]
    faces: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, rounded to six digits."""
        faces, covered = self.faces
        interval = None
        if covered:
            bounds = compute_wilson_interval(round(self.accuracy * covered), covered)
            interval = [round(bound, 6) for bound in bounds]
        return {
            "min_confidence": round(self.min_confidence, 6),
            "pictures": faces,
            "coverage": round(self.coverage, 6),
            "accuracy": round(self.accuracy, 6) if covered else None,
            "accuracy_interval": interval,
            "others": {name: round(share, 6) for name, share in self.others.items()},
        }


def measure_coverage(
    min_confidence: float,
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    others: Mapping[str, NDArray[np.float64]],
    thresholds: NDArray[np.float64] | None = None,
) -> Coverage:
    """Return coverage and accuracy at a confidence threshold.

    Args:
        min_confidence: The threshold, 0 to 1.
        probabilities: Probabilities of faces of known classes, (n, classes).
        labels: Their labels, (n,).
        others: Probabilities of faces of each unknown class, (m, classes).
        thresholds: A threshold for each face of the known classes, (n,), chosen on other faces;
            None to use `min_confidence` for all.
    """
    is_covered = probabilities.max(axis=1) >= (min_confidence if thresholds is None else thresholds)
    is_right = probabilities.argmax(axis=1) == labels
    return Coverage(
        min_confidence=min_confidence,
        coverage=float(is_covered.mean()),
        accuracy=float(is_right[is_covered].mean()) if is_covered.any() else float("nan"),
        others={
            name: float((rows.max(axis=1) >= min_confidence).mean())
            for name, rows in others.items()
            if len(rows)
        },
        faces=(len(labels), int(is_covered.sum())),
    )


def choose_threshold(probabilities: NDArray[np.float64], coverage: float) -> float:
    """Return the highest confidence threshold, in hundredths, with a given coverage.

    Args:
        probabilities: Probabilities of held-out faces of known classes, (n, classes).
        coverage: Minimum fraction of the faces with a label, 0 to 1; at 1 there is no threshold.
    """
    if coverage >= 1:
        return 0.0
    return float(np.floor(100 * np.quantile(probabilities.max(axis=1), 1 - coverage)) / 100)
