"""The toolkit's exceptions; the message of each is one sentence for a person.

EmotionEdgeError
├── PictureError       a picture cannot be read
├── ModelFileError     a model file is missing, damaged, or has no contract
├── SourceError        a path to classify is missing, or has no picture
├── DetectorError      a face detector or its package is missing
├── VideoError         a video or camera cannot be read
├── OutputError        a result cannot be written
└── WorkerError        worker processes cannot be started
"""

from __future__ import annotations

MAX_REASON_CHARACTERS = 300  # of a library's message
_LACK_OF_MEMORY = (
    *("std::bad_alloc", "failed to map segment from shared object", "cannot allocate memory"),
    *("failed to allocate memory", "can't allocate memory"),
)


def format_reason(error: BaseException, max_characters: int = MAX_REASON_CHARACTERS) -> str:
    """Return the message of an exception on one line of at most `max_characters`."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _shorten(text, max_characters)


def is_lack_of_memory(error: BaseException | None) -> bool:
    """Return whether an exception, or one that it was raised from, is for want of memory.

    Libraries report it as an error of other kinds: the system's loader as an ImportError,
    onnxruntime and PyTorch as a RuntimeError.
    """
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(part in text for part in _LACK_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def shorten_repr(value: object, max_characters: int = 200) -> str:
    """Return the ``repr`` of a value from a file, without control characters, for a message."""
    return _shorten(repr(value), max_characters)


def _shorten(text: str, max_characters: int) -> str:
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."


class EmotionEdgeError(Exception):
    """Base class of the errors that this toolkit raises on purpose."""


class PictureError(EmotionEdgeError):
    """A picture cannot be read."""


class ModelFileError(EmotionEdgeError):
    """A model file is missing, damaged, or does not conform to the contract."""


class SourceError(EmotionEdgeError):
    """A path to classify does not exist, or a folder contains no picture."""


class DetectorError(EmotionEdgeError):
    """A face detector does not exist, or its package is not installed."""


class VideoError(EmotionEdgeError):
    """A video file or camera cannot be read, or the package that reads it is not installed."""


class OutputError(EmotionEdgeError):
    """A result cannot be written."""


class WorkerError(EmotionEdgeError):
    """Worker processes cannot be started."""
