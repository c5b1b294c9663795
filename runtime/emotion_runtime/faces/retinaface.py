"""RetinaFace on a quarter of a MobileNet, run by onnxruntime: nothing more to install.

Deng et al., 2020, "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild". The file
and where it comes from: ``emotion_models/cards/retinaface.md``.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

import emotion_models
from emotion_runtime.faces.detection import Box, Detection, distinct
from emotion_runtime.faces.tally import Tally
from emotion_runtime.model.session import open_session
from emotion_runtime.prediction import format_count

# As it was trained: squares of two sizes, in pixels, at every place of three grids.
_GRIDS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_MOST = 5000  # candidates of one view that are compared with each other


class RetinaFace:
    """Finds faces from some 12 to 600 pixels high.

    Args:
        floor: Least confidence of what is given back.
        threads: Threads of onnxruntime for one picture.
    """

    def __init__(self, *, floor: float = 0.5, threads: int = 1) -> None:
        self._session = open_session(emotion_models.detector_path("retinaface"), threads)
        self._floor = floor
        self._counts = Tally()

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of RGB pixels, uint8 (height, width, 3), surest first."""
        offsets, shares = self._session.run(["loc", "conf"], {"pixels": pixels[np.newaxis]})
        confidences = shares[0, :, 1]
        found = np.flatnonzero(confidences >= self._floor)
        found = found[np.argsort(-confidences[found], kind="stable")]
        if len(found) > _MOST:
            self._counts.add("crowded")
            found = found[:_MOST]
        anchors = _anchors(*pixels.shape[:2])[found]
        # Centre and side of an anchor; its offsets are in units of its side.
        side = anchors[:, 2:]
        centre = anchors[:, :2] + offsets[0, found, :2] * _CENTRE_VARIANCE * side
        with np.errstate(over="ignore"):
            extent = np.exp(offsets[0, found, 2:] * _SIZE_VARIANCE) * side
        boxes = np.concatenate([centre - extent / 2, extent], axis=1)
        usable = np.isfinite(boxes).all(axis=1) & (extent > 0).all(axis=1)
        return distinct(
            [
                Detection(Box(*map(float, box)), float(confidence))
                for box, confidence in zip(boxes[usable], confidences[found][usable], strict=True)
            ]
        )

    def notes(self) -> list[str]:
        """Say what was left out so far."""
        crowded = self._counts.total()["crowded"]
        if not crowded:
            return []
        views = format_count(crowded, "view")
        return [
            f"{views} had more than {_MOST:,} candidates for a face; only the surest {_MOST:,} of "
            f"each were looked at"
        ]


@functools.lru_cache(maxsize=8)  # photographs of one camera have few shapes
def _anchors(height: int, width: int) -> NDArray[np.float32]:
    """Return centre x, centre y and side of each anchor, float32 (n, 3), in pixels."""
    grids = []
    for step, sides in _GRIDS:
        y, x, side = np.meshgrid(
            (np.arange(-(-height // step)) + 0.5) * step,
            (np.arange(-(-width // step)) + 0.5) * step,
            np.array(sides),
            indexing="ij",
        )
        grids.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float32)
