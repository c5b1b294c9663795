"""What a face is taught to be, before a teacher is asked: its label, votes, or a mix of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces

Targets = NDArray[np.float32]  # (n, classes), rows that add up to 1


def make_label_targets(faces: Faces, classes: int) -> Targets:
    """Put all weight on the label."""
    return np.eye(classes, dtype=np.float32)[faces.labels]


def mix_targets(labels: Targets, other: Targets, weight: float) -> Targets:
    """Give `other` the part `weight` of each target; a row of NaN there leaves the target."""
    known = ~np.isnan(other[:, :1])
    mixed: Targets = np.where(known, (1 - weight) * labels + weight * np.nan_to_num(other), labels)
    return mixed.astype(np.float32)
