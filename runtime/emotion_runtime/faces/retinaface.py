"""The shipped detector: RetinaFace with a MobileNet 0.25 backbone, run by onnxruntime.

Deng et al., 2020, "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild". Origin and
licence of the file: ``emotion_models/cards/retinaface.md``.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import emotion_models
from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.candidates import CandidateSelector
from emotion_runtime.faces.detection import Detection
from emotion_runtime.faces.detectors import DETECTION_THRESHOLD
from emotion_runtime.model.session import Session, open_session

# Anchors as in its training: at each point of three grids, squares of two sizes.
_GRIDS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))  # stride and sides, in pixels
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2


class RetinaFace:
    """Finds faces from some 12 to 600 pixels high.

    Args:
        threshold: Confidence threshold, 0 to 1.
        threads: Threads of onnxruntime for one picture.
        session: An open file with the same input and outputs; None for the shipped file.

    Raises:
        DetectorError: The file has another input.
    """

    # The most confident face has more in 95 of 99 upright photographs, and in 18 of the same
    # photographs turned by 90 degrees.
    upright_confidence: ClassVar[float] = 0.97
    OUTPUTS: ClassVar[frozenset[str]] = frozenset(("loc", "conf"))

    def __init__(
        self,
        *,
        threshold: float = DETECTION_THRESHOLD,
        threads: int = 1,
        session: Session | None = None,
    ) -> None:
        if session is None:
            session = open_session(emotion_models.detector_path("retinaface"), threads)
        kind, shape = session.inputs().get("pixels", ("", []))
        if kind != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3:
            raise DetectorError(
                f"{session.path}: its input must be pixels, uint8 (batch, height, width, 3)."
            )
        self._session, self._threshold = session, threshold
        self._candidates = CandidateSelector()
        self.counts = self._candidates.counts

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of RGB pixels, uint8 (height, width, 3), by descending confidence."""
        offsets, probabilities = self._session.run(["loc", "conf"], {"pixels": pixels[np.newaxis]})
        confidences = probabilities[0, :, 1]
        found = np.flatnonzero(confidences >= self._threshold)
        anchors = _compute_anchors(found, *pixels.shape[:2])
        # Centre and side of an anchor; its offsets are in units of its side.
        side = anchors[:, 2:]
        centre = anchors[:, :2] + offsets[0, found, :2] * _CENTRE_VARIANCE * side
        with np.errstate(over="ignore"):
            extent = np.exp(offsets[0, found, 2:] * _SIZE_VARIANCE) * side
        boxes = np.concatenate([centre - extent / 2, extent], axis=1)
        return self._candidates.select(boxes, confidences[found])

    def notes(self) -> list[str]:
        """Return what was left out so far, as sentences."""
        return self._candidates.notes()


def _compute_anchors(indices: NDArray[np.intp], height: int, width: int) -> NDArray[np.float32]:
    """Return centre x, centre y and side of the anchors `indices`, float32 (n, 3), in pixels."""
    anchors = np.empty((len(indices), 3), dtype=np.float32)
    start = 0
    for stride, sides in _GRIDS:
        columns = -(-width // stride)
        stop = start + -(-height // stride) * columns * len(sides)
        in_grid = (indices >= start) & (indices < stop)
        point, side_index = np.divmod(indices[in_grid] - start, len(sides))
        row, column = np.divmod(point, columns)
        anchors[in_grid, 0] = (column + 0.5) * stride
        anchors[in_grid, 1] = (row + 0.5) * stride
        anchors[in_grid, 2] = np.array(sides)[side_index]
        start = stop
    return anchors
