"""What finds faces: the interface of a detector, and what it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emotion_runtime.errors import DetectorError

if TYPE_CHECKING:  # read for --help too, which must not wait for numpy
    import numpy as np
    from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle in pixels, by its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection:
    """A face that was found.

    Attributes:
        box: From forehead to chin and from side to side; it may reach over the picture's edges.
        confidence: 0 to 1, on the detector's own scale.
    """

    box: Box
    confidence: float


class Detector(Protocol):
    """Finds faces; any object with this method will do.

    A detector may also have a method ``notes() -> list[str]``: sentences about what it left out,
    which the summary of a run shows; and attributes ``largest_view: int``, the side in pixels of
    the largest square that it takes, where a larger picture must be given to it in parts, and
    ``upright_confidence: float``: a picture whose surest face has no more may lie on its side.
    """

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of a picture; called from several threads.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).

        Returns:
            Boxes with finite coordinates and a positive size; confidences from 0 to 1. The order
            does not matter.
        """


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first.width * first.height + second.width * second.height - shared)


def distinct(detections: list[Detection], limit: float = 0.4) -> list[Detection]:
    """Leave out what overlaps a surer one by more than `limit` (non-maximum suppression)."""
    if len(detections) < 2:
        return list(detections)
    import numpy as np

    boxes = np.array([one.box for one in detections], dtype=np.float64)
    confidences = np.array([one.confidence for one in detections])
    return [detections[place] for place in suppress(boxes, confidences, limit)]


def suppress(
    boxes: NDArray[np.floating], confidences: NDArray[np.floating], limit: float = 0.4
) -> list[int]:
    """Return the places of the boxes that overlap no surer one by more than `limit`, surest first.

    Args:
        boxes: x, y, width and height in pixels, float (n, 4).
        confidences: float (n,).
        limit: Most intersection over union of two boxes that are both kept.
    """
    import numpy as np

    left = np.argsort(-confidences, kind="stable")
    starts, sizes = boxes[:, :2], boxes[:, 2:]
    ends, areas = starts + sizes, sizes[:, 0] * sizes[:, 1]
    kept: list[int] = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(int(first))
        sides = np.minimum(ends[first], ends[left]) - np.maximum(starts[first], starts[left])
        shared = sides.clip(0).prod(axis=1)
        left = left[shared <= limit * (areas[first] + areas[left] - shared)]
    return kept


def checked(detections: object) -> list[Detection]:
    """Return what a detector gave, as plain numbers.

    Raises:
        DetectorError: It is no list of `Detection`, a box is not finite or has no area, or a
            confidence is outside of 0 to 1.
    """
    if not isinstance(detections, (list, tuple)):
        raise DetectorError(
            f"the detector gave a {type(detections).__name__}; detect() must return a list of "
            f"Detection."
        )
    return [_checked(one) for one in detections]


def _checked(detection: object) -> Detection:
    if not isinstance(detection, Detection):
        raise DetectorError(
            f"the detector gave a {type(detection).__name__} in its list; detect() must return a "
            f"list of Detection."
        )
    try:
        box = Box(*map(float, detection.box))
        confidence = float(detection.confidence)
    except (TypeError, ValueError) as error:
        raise DetectorError(f"the detector gave {detection}, which is not numbers.") from error
    if not all(map(math.isfinite, box)) or box.width <= 0 or box.height <= 0:
        raise DetectorError(
            f"the detector gave the box {tuple(box)}; x and y must be finite, width and height "
            f"positive."
        )
    if not 0 <= confidence <= 1:
        raise DetectorError(
            f"the detector gave a confidence of {confidence:g}; it must be from 0 to 1."
        )
    return Detection(box, confidence)


def clipped(box: Box, width: int, height: int) -> Box | None:
    """Return the part of a box that lies inside a picture, in whole pixels.

    Args:
        box: It may reach over the edges.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Returns:
        A box of integers, at least one pixel wide and high, so that
        ``pixels[y : y + height, x : x + width]`` is the face; None where all of it lies outside.
    """
    if box.x >= width or box.y >= height or box.x + box.width <= 0 or box.y + box.height <= 0:
        return None
    x, y = round(box.x), round(box.y)
    left, top = min(max(0, x), width - 1), min(max(0, y), height - 1)
    right = min(max(left + 1, x + round(box.width)), width)
    bottom = min(max(top + 1, y + round(box.height)), height)
    return Box(left, top, right - left, bottom - top)
