"""The face detectors that are known by name."""

from __future__ import annotations

import os

from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.detection import Detector

DETECTORS = ("retinaface", "libfacedetection")


def open_detector(name: str | os.PathLike[str] = "retinaface", *, threads: int = 1) -> Detector:
    """Open a detector by its name in `DETECTORS`.

    Raises:
        DetectorError: There is none of that name, or its package is not installed.
    """
    if name == "retinaface":
        from emotion_runtime.faces.retinaface import RetinaFace

        return RetinaFace(threads=threads)
    if name == "libfacedetection":
        from emotion_runtime.faces.libfacedetection import LibFaceDetection

        return LibFaceDetection()
    raise DetectorError(f"{name}: no such detector; there are {', '.join(DETECTORS)}.")
