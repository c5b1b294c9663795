"""What a face is taught to be: its label, what annotators voted, what a teacher says, or a mix."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_train.checkpoint import Checkpoint
from emotion_train.errors import DataError
from emotion_train.evaluation import predict_logits
from emotion_train.faces import Faces

Targets = NDArray[np.float32]  # (n, classes), rows that add up to 1


def label_targets(faces: Faces, classes: int) -> Targets:
    """Put all weight on the label."""
    return np.eye(classes, dtype=np.float32)[faces.labels]


def mix(labels: Targets, other: Targets, weight: float) -> Targets:
    """Give `other` the part `weight` of each target; a row of NaN there leaves the target."""
    known = ~np.isnan(other[:, :1])
    mixed: Targets = np.where(known, (1 - weight) * labels + weight * np.nan_to_num(other), labels)
    return mixed.astype(np.float32)


def teacher_targets(
    teacher: Checkpoint, faces: Faces, classes: tuple[str, ...], device: torch.device
) -> Targets:
    """Ask a teacher; its answers to a face and to its mirror image are averaged.

    Classes that the student lacks are left out, and the rest adds up to 1 again. The teacher's
    own temperature, fitted on faces it was not trained on, keeps it from overconfidence.

    Raises:
        DataError: The teacher lacks a class.
    """
    lacking = [name for name in classes if name not in teacher.labels]
    if lacking:
        raise DataError(f"the teacher does not know {', '.join(lacking)}.")
    columns = [teacher.labels.index(name) for name in classes]
    network = teacher.build().to(device)
    logits = predict_logits(network, faces.pixels)
    mirrored = predict_logits(network, np.ascontiguousarray(faces.pixels[:, :, ::-1]))
    chosen = (logits + mirrored)[:, columns].astype(np.float64) / (2 * teacher.temperature)
    targets: Targets = softmax(chosen, axis=1).astype(np.float32)
    return targets
