"""What finds faces: the interface, and the detectors that are known by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emotion_runtime.errors import DetectorError

if TYPE_CHECKING:  # read for --help too, which must not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

DETECTORS = ("retinaface", "libfacedetection")


class Box(NamedTuple):
    """A rectangle in pixels; its corner may lie outside of the picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection:
    """A face that was found.

    Attributes:
        box: From forehead to chin and from side to side.
        confidence: 0 to 1, on the detector's own scale.
    """

    box: Box
    confidence: float


class Detector(Protocol):
    """Finds faces; any object with this method will do."""

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of a picture, surest first; called from several threads.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).
        """


def open_detector(name: str | os.PathLike[str] = "retinaface", *, threads: int = 1) -> Detector:
    """Open a detector by its name in `DETECTORS`.

    Raises:
        DetectorError: There is none of that name, or its package is not installed.
    """
    if name == "retinaface":
        from emotion_runtime.retinaface import RetinaFace

        return RetinaFace(threads=threads)
    if name == "libfacedetection":
        from emotion_runtime.libfacedetection import LibFaceDetection

        return LibFaceDetection()
    raise DetectorError(f"{name}: no such detector; there are {', '.join(DETECTORS)}.")


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
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda one: -one.confidence):
        if all(overlap(candidate.box, other.box) <= limit for other in kept):
            kept.append(candidate)
    return kept
