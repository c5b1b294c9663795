"""RetinaFace on a quarter of a MobileNet, run by onnxruntime: nothing more to install.

Deng et al., 2020, "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild". The file
and where it comes from: ``emotion_models/cards/retinaface.md``.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import emotion_models
from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.candidates import Candidates
from emotion_runtime.faces.detection import Detection
from emotion_runtime.faces.detectors import DETECTION_THRESHOLD
from emotion_runtime.model.session import Session, open_session

# As it was trained: squares of two sizes, in pixels, at every place of three grids.
_GRIDS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2


class RetinaFace:
    """Finds faces from some 12 to 600 pixels high.

    Args:
        threshold: Least confidence of what is given back, 0 to 1.
        threads: Threads of onnxruntime for one picture.
        session: A file of the same form, opened; None for the one that ships.

    Raises:
        DetectorError: The input of `session` is not the one that is known.
    """

    # The surest face of 95 of 99 upright photographs has more, of 18 of them turned by 90 degrees.
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
        self._candidates = Candidates()

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of RGB pixels, uint8 (height, width, 3), surest first."""
        offsets, shares = self._session.run(["loc", "conf"], {"pixels": pixels[np.newaxis]})
        confidences = shares[0, :, 1]
        found = np.flatnonzero(confidences >= self._threshold)
        anchors = _anchors(found, *pixels.shape[:2])
        # Centre and side of an anchor; its offsets are in units of its side.
        side = anchors[:, 2:]
        centre = anchors[:, :2] + offsets[0, found, :2] * _CENTRE_VARIANCE * side
        with np.errstate(over="ignore"):
            extent = np.exp(offsets[0, found, 2:] * _SIZE_VARIANCE) * side
        boxes = np.concatenate([centre - extent / 2, extent], axis=1)
        return self._candidates.choose(boxes, confidences[found])

    def notes(self) -> list[str]:
        """Say what was left out so far."""
        return self._candidates.notes()


def _anchors(places: NDArray[np.intp], height: int, width: int) -> NDArray[np.float32]:
    """Return centre x, centre y and side of the anchors at `places`, float32 (n, 3), in pixels."""
    anchors = np.empty((len(places), 3), dtype=np.float32)
    start = 0
    for step, sides in _GRIDS:
        columns = -(-width // step)
        stop = start + -(-height // step) * columns * len(sides)
        here = (places >= start) & (places < stop)
        square, kind = np.divmod(places[here] - start, len(sides))
        row, column = np.divmod(square, columns)
        anchors[here, 0] = (column + 0.5) * step
        anchors[here, 1] = (row + 0.5) * step
        anchors[here, 2] = np.array(sides)[kind]
        start = stop
    return anchors
