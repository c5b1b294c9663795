"""Recognise facial expressions in pictures, with numpy, Pillow and onnxruntime alone.

>>> from emotion_runtime import EmotionClassifier
>>> classifier = EmotionClassifier()
>>> classifier.predict("samples/happy_01.png").label
'happy'

Importing this package is fast: numpy, Pillow and onnxruntime are loaded when first needed.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing.TYPE_CHECKING`, without the three milliseconds of that import
if TYPE_CHECKING:
    from typing import Any

    from emotion_runtime.classifier import EmotionClassifier as EmotionClassifier
    from emotion_runtime.errors import DetectorError as DetectorError
    from emotion_runtime.errors import EmotionEdgeError as EmotionEdgeError
    from emotion_runtime.errors import ModelFileError as ModelFileError
    from emotion_runtime.errors import OutputError as OutputError
    from emotion_runtime.errors import PictureError as PictureError
    from emotion_runtime.errors import SourceError as SourceError
    from emotion_runtime.errors import VideoError as VideoError
    from emotion_runtime.errors import WorkerError as WorkerError
    from emotion_runtime.faces.classifier import FaceClassifier as FaceClassifier
    from emotion_runtime.faces.detection import Box as Box
    from emotion_runtime.faces.detection import Detection as Detection
    from emotion_runtime.faces.detection import Detector as Detector
    from emotion_runtime.faces.finder import Face as Face
    from emotion_runtime.faces.finder import FaceFinder as FaceFinder
    from emotion_runtime.model.contract import Contract as Contract
    from emotion_runtime.model.self_test import SelfTest as SelfTest
    from emotion_runtime.pictures.preprocessing import NamedBytes as NamedBytes
    from emotion_runtime.pictures.preprocessing import read_face as read_face
    from emotion_runtime.prediction import FacePrediction as FacePrediction
    from emotion_runtime.prediction import Prediction as Prediction

#: The version of emotion-edge, one for all its packages.
__version__ = "0.1.0"

_MODULE_BY_NAME = {
    "Box": "faces.detection",
    "Contract": "model.contract",
    "Detection": "faces.detection",
    "Detector": "faces.detection",
    "DetectorError": "errors",
    "EmotionClassifier": "classifier",
    "EmotionEdgeError": "errors",
    "Face": "faces.finder",
    "FaceClassifier": "faces.classifier",
    "FaceFinder": "faces.finder",
    "FacePrediction": "prediction",
    "ModelFileError": "errors",
    "NamedBytes": "pictures.preprocessing",
    "OutputError": "errors",
    "PictureError": "errors",
    "Prediction": "prediction",
    "SelfTest": "model.self_test",
    "SourceError": "errors",
    "VideoError": "errors",
    "WorkerError": "errors",
    "read_face": "pictures.preprocessing",
}

__all__ = [
    "Box",
    "Contract",
    "Detection",
    "Detector",
    "DetectorError",
    "EmotionClassifier",
    "EmotionEdgeError",
    "Face",
    "FaceClassifier",
    "FaceFinder",
    "FacePrediction",
    "ModelFileError",
    "NamedBytes",
    "OutputError",
    "PictureError",
    "Prediction",
    "SelfTest",
    "SourceError",
    "VideoError",
    "WorkerError",
    "__version__",
    "read_face",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that ``--help`` does not wait for numpy."""
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List all public names, also those that are not loaded yet."""
    return sorted(set(globals()) | set(_MODULE_BY_NAME))
