"""The face detectors, opened by name or from an ONNX file."""

from __future__ import annotations

import os
from pathlib import Path

from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.detection import Detector

DETECTORS = ("retinaface", "libfacedetection")
DETECTION_THRESHOLD = 0.6  # confidence threshold; docs/photographs.md shows both error rates


def open_detector(
    name: str | os.PathLike[str] = "retinaface",
    *,
    threads: int = 1,
    threshold: float = DETECTION_THRESHOLD,
) -> Detector:
    """Open a detector by its name in `DETECTORS`, or from an ONNX file.

    The names of the outputs decide how a file is read: those of the YuNet family (``cls_8`` to
    ``kps_32``), or ``loc`` and ``conf`` as the shipped detector has them.

    Args:
        name: A name, or the path of a file; a path ends with ``.onnx`` or ``.ort``, or contains a
            separator.
        threads: Threads of onnxruntime for one picture.
        threshold: Confidence threshold, 0 to 1; a detector may leave out what is below it.

    Raises:
        DetectorError: No detector has this name, its package is not installed, or the file has
            other inputs or outputs.
        ModelFileError: The file cannot be read, or onnxruntime cannot open it.
        ValueError: `threshold` is not from 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must be from 0 to 1.")
    if name == "retinaface":
        from emotion_runtime.faces.retinaface import RetinaFace

        return RetinaFace(threshold=threshold, threads=threads)
    if name == "libfacedetection":
        from emotion_runtime.faces.libfacedetection import LibFaceDetection

        return LibFaceDetection()
    if is_file_name(name):
        return _open_file(Path(name), threads, threshold)
    raise DetectorError(
        f"{name}: no such detector; there are {', '.join(DETECTORS)}, or name an ONNX file."
    )


def is_file_name(name: str | os.PathLike[str]) -> bool:
    """Return whether `name` is a path rather than the name of a detector."""
    path = Path(name)
    return not isinstance(name, str) or path.suffix in (".onnx", ".ort") or len(path.parts) > 1


def _open_file(path: Path, threads: int, threshold: float) -> Detector:
    """Open a file with the class that has its outputs."""
    from emotion_runtime.faces.retinaface import RetinaFace
    from emotion_runtime.faces.yunet import YuNet
    from emotion_runtime.model.session import open_session

    session = open_session(path, threads)
    for kind in (RetinaFace, YuNet):
        if set(session.outputs()) >= kind.OUTPUTS:
            return kind(threshold=threshold, session=session)
    raise DetectorError(
        f"{path}: no detector of a form that is known; its outputs must be cls_8 to kps_32 "
        f"(YuNet) or loc and conf over the input pixels (the detector that ships)."
    )
