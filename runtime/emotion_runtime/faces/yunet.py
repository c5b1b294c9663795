"""Detectors of the YuNet family, from a file of the user.

Wu, Peng and Yu, 2023, "YuNet: A Tiny Millisecond-level Face Detector". The files that
libfacedetection.train and OpenCV's model zoo publish have one input of BGR pixels, float32
(1, 3, height, width) from 0 to 255, and 12 outputs: ``cls``, ``obj``, ``bbox`` and ``kps`` at
strides of 8, 16 and 32 pixels, each of shape (1, grid points, values).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.candidates import CandidateSelector
from emotion_runtime.faces.detection import Detection
from emotion_runtime.faces.detectors import DETECTION_THRESHOLD
from emotion_runtime.model.session import Session

_STRIDES = (8, 16, 32)  # pixels between two grid points
_KINDS = ("cls", "obj", "bbox")  # the landmarks, kps, are not used


class YuNet:
    """Finds faces with a file of the YuNet family.

    Attributes:
        largest_view: Side in pixels of the largest square that the file takes; None where it takes
            pictures of any size.

    Args:
        session: The open file.
        threshold: Confidence threshold, 0 to 1.

    Raises:
        DetectorError: The file has another input.
    """

    OUTPUTS: ClassVar[frozenset[str]] = frozenset(
        f"{kind}_{stride}" for kind in (*_KINDS, "kps") for stride in _STRIDES
    )

    def __init__(self, *, session: Session, threshold: float = DETECTION_THRESHOLD) -> None:
        inputs = session.inputs()
        self._input = next(iter(inputs), "")
        kind, shape = inputs.get(self._input, ("", []))
        if len(inputs) != 1 or kind != "tensor(float)" or len(shape) != 4 or shape[1] != 3:
            raise DetectorError(
                f"{session.path}: its input must be float32 (1, 3, height, width), as YuNet's is."
            )
        self._height, self._width = (side if isinstance(side, int) else None for side in shape[2:])
        for side in (self._height, self._width):
            if side is not None and (side % _STRIDES[-1] or side < _STRIDES[-1]):
                raise DetectorError(
                    f"{session.path}: its input has a side of {side} pixels; YuNet's are multiples "
                    f"of {_STRIDES[-1]}."
                )
        fixed = [side for side in (self._height, self._width) if side is not None]
        self.largest_view = min(fixed) if fixed else None
        self._session, self._threshold = session, threshold
        self._candidates = CandidateSelector()
        self.counts = self._candidates.counts

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of RGB pixels, uint8 (height, width, 3), by descending confidence.

        Raises:
            DetectorError: An output has another shape than YuNet's, or the picture is larger than
                the input of the file.
        """
        height, width, _ = pixels.shape
        rows = self._height or -(-height // _STRIDES[-1]) * _STRIDES[-1]
        columns = self._width or -(-width // _STRIDES[-1]) * _STRIDES[-1]
        if height > rows or width > columns:
            raise DetectorError(
                f"{self._session.path}: takes pictures of up to {columns}×{rows} pixels, not "
                f"{width}×{height}."
            )
        values = np.zeros((1, 3, rows, columns), dtype=np.float32)
        values[0, :, :height, :width] = pixels[:, :, ::-1].transpose(2, 0, 1)
        names = [f"{kind}_{stride}" for stride in _STRIDES for kind in _KINDS]
        outputs = iter(self._session.run(names, {self._input: values}))
        boxes, confidences = [], []
        for stride in _STRIDES:
            at_stride = [next(outputs) for _ in _KINDS]
            decoded = self._decode(at_stride, stride, (rows // stride, columns // stride))
            boxes.append(decoded[0])
            confidences.append(decoded[1])
        return self._candidates.select(
            np.concatenate(boxes).astype(np.float32), np.concatenate(confidences)
        )

    def _decode(
        self, outputs: list[NDArray[np.float32]], stride: int, grid: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes and confidences of the candidates at one stride.

        Args:
            outputs: The outputs `_KINDS` at this stride.
            stride: Pixels between two grid points.
            grid: Rows and columns of grid points.

        Raises:
            DetectorError: An output has another shape than YuNet's.
        """
        shapes = [output.shape for output in outputs]
        if shapes != [(1, grid[0] * grid[1], size) for size in (1, 1, 4)]:
            raise DetectorError(
                f"{self._session.path}: its outputs at stride {stride} have the shapes "
                f"{', '.join(map(str, shapes))}, which are not YuNet's."
            )
        classes, objects, offsets = (output[0] for output in outputs)
        scores = np.sqrt(classes[:, 0].clip(0, 1) * objects[:, 0].clip(0, 1))
        found = np.flatnonzero(scores >= self._threshold)
        row, column = np.divmod(found, grid[1])
        centre = (np.stack([column, row], axis=1) + offsets[found, :2]) * stride
        with np.errstate(over="ignore"):
            extent = np.exp(offsets[found, 2:]) * stride
        return np.concatenate([centre - extent / 2, extent], axis=1), scores[found]

    def notes(self) -> list[str]:
        """Return what was left out so far, as sentences."""
        return self._candidates.notes()
