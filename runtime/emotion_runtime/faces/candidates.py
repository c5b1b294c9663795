"""From a network's candidates for faces to distinct faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.faces.detection import Box, Detection, suppress
from emotion_runtime.faces.tally import Tally
from emotion_runtime.prediction import format_count

MAX_CANDIDATES = 5000  # of one view that are compared with each other


class Candidates:
    """Chooses among candidates, and counts what it could not look at."""

    def __init__(self) -> None:
        self._counts = Tally()

    def choose(
        self, boxes: NDArray[np.float32], confidences: NDArray[np.float32]
    ) -> list[Detection]:
        """Return the faces, surest first, after non-maximum suppression.

        Args:
            boxes: x, y, width and height in pixels, float32 (n, 4); what is not finite or has no
                area is left out.
            confidences: 0 to 1, float32 (n,).
        """
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        if not usable.all():
            boxes, confidences = boxes[usable], confidences[usable]
        if len(boxes) > MAX_CANDIDATES:
            self._counts.add("crowded")
            surest = np.argsort(-confidences, kind="stable")[:MAX_CANDIDATES]
            boxes, confidences = boxes[surest], confidences[surest]
        kept = suppress(boxes.astype(np.float64), confidences)
        return [
            Detection(Box(*box), confidence)
            for box, confidence in zip(
                boxes[kept].tolist(), confidences[kept].tolist(), strict=True
            )
        ]

    def notes(self) -> list[str]:
        """Say what was left out so far."""
        crowded = self._counts.total()["crowded"]
        if not crowded:
            return []
        return [
            f"{format_count(crowded, 'view')} had more than {MAX_CANDIDATES:,} candidates for a "
            f"face; only the surest {MAX_CANDIDATES:,} of each were looked at"
        ]
