"""What can go wrong while exporting, as one sentence for a person.

emotion_runtime.errors.EmotionEdgeError
└── ExportError            no model file was written
    ├── ConversionError    a network, or an opset, that the exporter cannot give
    ├── PageError          what the page runs on cannot be had
    ├── ParityDataError    no faces to prove the file on
    └── ParityError        the file does not answer as PyTorch does (parity.comparison)
"""

from __future__ import annotations

from emotion_runtime.errors import EmotionEdgeError


def reason_of(error: Exception) -> str:
    """Say in a line what a library raised; its errors may run over many, or say nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class ExportError(EmotionEdgeError):
    """No model file was written."""


class ConversionError(ExportError):
    """The network, or the opset asked for, is one that the exporter cannot give."""


class PageError(ExportError):
    """onnxruntime-web cannot be had, or is another than the page is tested with."""


class ParityDataError(ExportError):
    """There are no faces to prove the file on."""
