"""When to say nothing: a floor of confidence, and what it costs and buys.

A network of three classes gives one of them to every face. Faces of classes that it does not know
lie, on average, nearer to the borders; a floor answers part of them with ``uncertain``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOORS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Coverage:
    """What one floor does.

    Attributes:
        floor: Below it the answer is ``uncertain``.
        coverage: Part of the faces of known classes that get an answer, 0 to 1.
        accuracy: Part of these answers that are right; NaN where there is none.
        others: Part of the faces of each unknown class that get an answer all the same.
    """

    floor: float
    coverage: float
    accuracy: float
    others: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, rounded to six places."""
        return {
            "floor": round(self.floor, 6),
            "coverage": round(self.coverage, 6),
            "accuracy": round(self.accuracy, 6) if self.coverage else None,
            "others": {name: round(share, 6) for name, share in self.others.items()},
        }


def cover(
    floor: float,
    chances: NDArray[np.float64],
    labels: NDArray[np.int64],
    others: Mapping[str, NDArray[np.float64]],
) -> Coverage:
    """Measure one floor.

    Args:
        floor: The floor.
        chances: Probabilities of faces of known classes, (n, classes).
        labels: Their labels, (n,).
        others: Probabilities of faces of each unknown class, (m, classes).
    """
    answered = chances.max(axis=1) >= floor
    right = chances.argmax(axis=1) == labels
    return Coverage(
        floor,
        float(answered.mean()),
        float(right[answered].mean()) if answered.any() else float("nan"),
        {name: float((c.max(axis=1) >= floor).mean()) for name, c in others.items() if len(c)},
    )


def choose_floor(chances: NDArray[np.float64], answered: float) -> float:
    """Find the highest floor, in hundredths, that still answers the part `answered` of the faces.

    Args:
        chances: Probabilities of held-out faces of known classes, (n, classes).
        answered: 0 to 1; at 1 there is no floor.
    """
    if answered >= 1:
        return 0.0
    return float(np.floor(100 * np.quantile(chances.max(axis=1), 1 - answered)) / 100)
