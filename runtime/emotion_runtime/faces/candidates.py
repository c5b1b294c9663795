"""The candidates of a detector's network: non-maximum suppression, and a bound on their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.faces.detection import Box, Detection, suppress_boxes
from emotion_runtime.faces.tally import Tally
from emotion_runtime.prediction import format_count

MAX_VIEW_CANDIDATES = 5000  # candidates of one view that are compared with each other


class CandidateSelector:
    """Selects faces among candidates, and counts the candidates that it left out.

    Attributes:
        counts: The number of views with too many candidates, as ``crowded``.
    """

    def __init__(self) -> None:
        self.counts = Tally()

    def select(
        self, boxes: NDArray[np.float32], confidences: NDArray[np.float32]
    ) -> list[Detection]:
        """Return the faces after non-maximum suppression, by descending confidence.

        Args:
            boxes: x, y, width and height in pixels, float32 (n, 4); boxes that are not finite or
                have no area are left out.
            confidences: float32 (n,), 0 to 1.
        """
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        if not usable.all():
            boxes, confidences = boxes[usable], confidences[usable]
        if len(boxes) > MAX_VIEW_CANDIDATES:
            self.counts.add("crowded")
            most_confident = np.argsort(-confidences, kind="stable")[:MAX_VIEW_CANDIDATES]
            boxes, confidences = boxes[most_confident], confidences[most_confident]
        kept = suppress_boxes(boxes.astype(np.float64), confidences)
        return [
            Detection(Box(*box), confidence)
            for box, confidence in zip(
                boxes[kept].tolist(), confidences[kept].tolist(), strict=True
            )
        ]

    def notes(self) -> list[str]:
        """Return what was left out so far, as sentences."""
        crowded = self.counts.total()["crowded"]
        if not crowded:
            return []
        views = format_count(crowded, "view")
        return [
            f"{views} had more than {MAX_VIEW_CANDIDATES:,} candidates for a face; "
            f"only the {MAX_VIEW_CANDIDATES:,} most confident of each were used"
        ]
