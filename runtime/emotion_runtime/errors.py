"""What can go wrong, as exceptions whose message is one sentence for a person.

EmotionEdgeError
├── PictureError       a picture cannot be read
├── ModelFileError     a model file is missing, damaged, or says nothing of itself
├── SourceError        a path to classify is missing, or holds no picture
├── DetectorError      what finds faces is missing, or its package is
├── VideoError         a video or camera cannot be read
└── OutputError        a result cannot be written where it was asked for
"""

from __future__ import annotations


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
    """A result cannot be written where it was asked for."""
