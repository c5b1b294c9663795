"""Confidence thresholds: what they cost in coverage, and what they gain in accuracy.

A network of three classes gives one of them to every face. Faces of classes that it does not know
get, on average, a lower confidence; a threshold labels part of them ``uncertain``.
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
    """What one confidence threshold does.

    Attributes:
        min_confidence: The threshold; below it the label is ``uncertain``.
        coverage: Part of the faces of known classes at or above the threshold, 0 to 1.
        accuracy: Of these, the part whose label is right; NaN where there are none.
        others: Part of the faces of each unknown class at or above the threshold.
        faces: The faces of known classes, and how many of them are covered.
    """

    min_confidence: float
    coverage: float
    accuracy: float
    others: dict[str, float]
    faces: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, rounded to six places."""
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


def cover(
    min_confidence: float,
    chances: NDArray[np.float64],
    labels: NDArray[np.int64],
    others: Mapping[str, NDArray[np.float64]],
    thresholds: NDArray[np.float64] | None = None,
) -> Coverage:
    """Measure one confidence threshold.

    Args:
        min_confidence: The threshold, 0 to 1.
        chances: Probabilities of faces of known classes, (n, classes).
        labels: Their labels, (n,).
        others: Probabilities of faces of each unknown class, (m, classes).
        thresholds: The threshold for each face of the known classes, (n,), where each is to be
            judged by one that other faces chose; None for `min_confidence`.
    """
    covered = chances.max(axis=1) >= (min_confidence if thresholds is None else thresholds)
    right = chances.argmax(axis=1) == labels
    return Coverage(
        min_confidence,
        float(covered.mean()),
        float(right[covered].mean()) if covered.any() else float("nan"),
        {
            name: float((rows.max(axis=1) >= min_confidence).mean())
            for name, rows in others.items()
            if len(rows)
        },
        (len(labels), int(covered.sum())),
    )


def choose_threshold(chances: NDArray[np.float64], coverage: float) -> float:
    """Return the highest confidence threshold, in hundredths, that keeps a coverage.

    Args:
        chances: Probabilities of held-out faces of known classes, (n, classes).
        coverage: Part of the faces that must get a label, 0 to 1; at 1 there is no threshold.
    """
    if coverage >= 1:
        return 0.0
    return float(np.floor(100 * np.quantile(chances.max(axis=1), 1 - coverage)) / 100)
