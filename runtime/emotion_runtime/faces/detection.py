"""The interface of face detectors, and their results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emotion_runtime.errors import DetectorError

if TYPE_CHECKING:  # read for --help too, which must not wait for numpy
    import numpy as np
    from numpy.typing import NDArray


MAX_IOU = 0.4  # intersection over union of two boxes that are two faces


class Box(NamedTuple):
    """A rectangle in pixels, by its upper left corner and its size.

    Attributes:
        x: Distance of its left edge from that of the picture.
        y: Distance of its upper edge from that of the picture.
        width: From its left to its right edge.
        height: From its upper to its lower edge.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection:
    """One detected face.

    Attributes:
        box: Bounding box from forehead to chin and from side to side; it may extend beyond the
            edges of the picture.
        confidence: 0 to 1, on the scale of the detector.
    """

    box: Box
    confidence: float


class Detector(Protocol):
    """Finds faces; any object with the method `detect` is a detector.

    Optional further members:

    - ``notes() -> list[str]``: sentences about what was left out, shown in the summary of a run.
    - ``largest_view: int``: side in pixels of the largest square that `detect` takes; larger
      pictures are passed to it in parts.
    - ``upright_confidence: float``: where no face of a picture has more confidence than this, the
      picture may lie on its side, and is also searched turned.
    """

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of a picture; may be called from several threads at once.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).

        Returns:
            Faces in any order; their boxes have finite coordinates and a positive size.
        """


def compute_iou(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first.width * first.height + second.width * second.height - shared)


def suppress_overlaps(detections: list[Detection], max_iou: float = MAX_IOU) -> list[Detection]:
    """Return the detections that remain after non-maximum suppression, as `suppress_boxes` does."""
    if len(detections) < 2:
        return list(detections)
    import numpy as np

    boxes = np.array([detection.box for detection in detections], dtype=np.float64)
    confidences = np.array([detection.confidence for detection in detections])
    return [detections[index] for index in suppress_boxes(boxes, confidences, max_iou)]


def suppress_boxes(
    boxes: NDArray[np.floating], confidences: NDArray[np.floating], max_iou: float = MAX_IOU
) -> list[int]:
    """Return the indices of the boxes that remain after greedy non-maximum suppression.

    Args:
        boxes: x, y, width and height in pixels, float (n, 4).
        confidences: float (n,).
        max_iou: Largest intersection over union of two boxes that are both kept.

    Returns:
        Indices, by descending confidence.
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
        left = left[shared <= max_iou * (areas[first] + areas[left] - shared)]
    return kept


def check_detections(detections: object) -> list[Detection]:
    """Return the result of a detector, with its numbers converted to float.

    Raises:
        DetectorError: It is not a list of `Detection`, a box is not finite or has no area, or a
            confidence is not from 0 to 1.
    """
    if not isinstance(detections, (list, tuple)):
        raise DetectorError(
            f"the detector returned a {type(detections).__name__}; detect() must return a list of "
            f"Detection."
        )
    return [_check_detection(one) for one in detections]


def _check_detection(detection: object) -> Detection:
    if not isinstance(detection, Detection):
        raise DetectorError(
            f"the detector returned a {type(detection).__name__} in its list; detect() must return "
            f"a list of Detection."
        )
    try:
        box = Box(*map(float, detection.box))
        confidence = float(detection.confidence)
    except (TypeError, ValueError) as error:
        raise DetectorError(f"the detector returned {detection}, which is not numbers.") from error
    if not all(map(math.isfinite, box)) or box.width <= 0 or box.height <= 0:
        raise DetectorError(
            f"the detector returned the box {tuple(box)}; x and y must be finite, width and height "
            f"positive."
        )
    if not 0 <= confidence <= 1:
        raise DetectorError(
            f"the detector returned a confidence of {confidence:g}; it must be from 0 to 1."
        )
    return Detection(box, confidence)


def clip_box(box: Box, width: int, height: int) -> Box | None:
    """Clip a box to a picture, and round it to whole pixels.

    Args:
        box: May extend beyond the edges of the picture.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.

    Returns:
        A box of integers, at least one pixel wide and high, so that
        ``pixels[y : y + height, x : x + width]`` is the face; None where the box lies outside.
    """
    if box.x >= width or box.y >= height or box.x + box.width <= 0 or box.y + box.height <= 0:
        return None
    x, y = round(box.x), round(box.y)
    left, top = min(max(0, x), width - 1), min(max(0, y), height - 1)
    right = min(max(left + 1, x + round(box.width)), width)
    bottom = min(max(top + 1, y + round(box.height)), height)
    return Box(left, top, right - left, bottom - top)
