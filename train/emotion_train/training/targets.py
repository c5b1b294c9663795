"""Training targets from labels and votes, before those of a teacher."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces

Targets = NDArray[np.float32]  # (n, classes), with rows that sum to 1


def make_label_targets(faces: Faces, classes: int) -> Targets:
    """Return one-hot targets of the labels."""
    return np.eye(classes, dtype=np.float32)[faces.labels]


def mix_targets(labels: Targets, other: Targets, weight: float) -> Targets:
    """Return (1 − weight) × labels + weight × other; where `other` is NaN, the labels alone."""
    is_known = ~np.isnan(other[:, :1])
    mixed: Targets = np.where(
        is_known, (1 - weight) * labels + weight * np.nan_to_num(other), labels
    )
    return mixed.astype(np.float32)
