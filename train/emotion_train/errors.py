"""What can go wrong while training, as one sentence for a person.

emotion_runtime.errors.EmotionEdgeError
├── DataError          the training data are missing, too few or malformed
├── CheckpointError    a checkpoint is missing, damaged, foreign or of another version
└── RunError           a run folder is in the way, or cannot be resumed as asked
"""

from __future__ import annotations

from emotion_runtime.errors import EmotionEdgeError


class DataError(EmotionEdgeError):
    """The training data are missing, too few or malformed."""


class CheckpointError(EmotionEdgeError):
    """A checkpoint is missing, damaged, foreign or of another version."""


class RunError(EmotionEdgeError):
    """A run folder is in the way, or cannot be resumed as asked."""
