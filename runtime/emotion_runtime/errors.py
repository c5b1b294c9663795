"""What can go wrong, as exceptions whose message is one sentence for a person.

EmotionEdgeError
├── PictureError       a picture cannot be read
├── ModelFileError     a model file is missing, damaged, or says nothing of itself
├── SourceError        a path to classify is missing, or holds no picture
├── DetectorError      what finds faces is missing, or its package is
├── VideoError         a video or camera cannot be read
└── OutputError        a result cannot be written where it should be
"""

from __future__ import annotations

MAX_REASON_CHARACTERS = 300  # characters of what a library said


def format_reason(error: BaseException, most: int = MAX_REASON_CHARACTERS) -> str:
    """Return what a library raised on one line of at most `most` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else text[: most - 3] + "..."


def shorten_repr(value: object, most: int = 200) -> str:
    """Return a value from a file for a message: no control characters, `most` characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


class EmotionEdgeError(Exception):
    """Base of every error this toolkit raises on purpose."""


class PictureError(EmotionEdgeError):
    """A picture cannot be read."""


class ModelFileError(EmotionEdgeError):
    """A model file is missing, damaged, or does not keep the contract."""


class SourceError(EmotionEdgeError):
    """A path to classify does not exist, or a folder holds no picture."""


class DetectorError(EmotionEdgeError):
    """There is no such face detector, or its package is not installed."""


class VideoError(EmotionEdgeError):
    """A video file or camera cannot be read, or what reads them is not installed."""


class OutputError(EmotionEdgeError):
    """A result cannot be written where it should be."""
