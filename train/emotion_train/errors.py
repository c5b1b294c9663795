"""Errors of training; the message of each is one sentence for the user.

emotion_runtime.errors.EmotionEdgeError
├── DataError          the training data are missing, too few or malformed
├── CheckpointError    a checkpoint is missing, damaged, foreign or of another version
└── RunError           a run cannot be started, resumed or continued
"""

from __future__ import annotations

from emotion_runtime.errors import EmotionEdgeError


class DataError(EmotionEdgeError):
    """The training data are missing, too few or malformed."""


class CheckpointError(EmotionEdgeError):
    """A checkpoint is missing, damaged, foreign or of another version."""


class RunError(EmotionEdgeError):
    """A run cannot be started, resumed or continued."""
