"""Exceptions of the export. Each message is one sentence for the user.

emotion_runtime.errors.EmotionEdgeError
└── ExportError            no model file was written
    ├── ConversionError    the network or the opset cannot be exported
    ├── PageError          the web page cannot be made
    ├── ParityDataError    no suitable faces for the parity check, for int8 or for a threshold
    └── ParityError        the file does not compute what PyTorch computes (parity.comparison)
"""

from __future__ import annotations

from emotion_runtime.errors import EmotionEdgeError


class ExportError(EmotionEdgeError):
    """No model file was written."""


class ConversionError(ExportError):
    """The network or the opset cannot be exported."""


class PageError(ExportError):
    """The model file does not fit the page, or onnxruntime-web is missing or of another version."""


class ParityDataError(ExportError):
    """There are no suitable faces for the parity check, for int8, or for a threshold."""
