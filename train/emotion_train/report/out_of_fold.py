"""Temperature and confidence threshold, each judged on faces that did not choose it.

Both are fitted on the held-out faces. Measured on the same faces, the calibration error would be
too small and the coverage just what was wanted. So the faces are dealt into folds; for each fold
the value is fitted on the others (cross-fitting, as scikit-learn's ``cross_val_predict``). What the
model file carries is fitted on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_train.data.faces import Faces
from emotion_train.evaluation import Truth, fit_temperature
from emotion_train.report.confidence import choose_threshold

FOLDS = 5
FEWEST_FACES = 50  # of fewer, four fifths fit no temperature that says much


def assign_folds(parts: Sequence[Faces]) -> NDArray[np.int64] | None:
    """Deal held-out faces into folds, with the classes spread and identical faces together.

    Args:
        parts: The held-out splits, n faces together.

    Returns:
        int64, shape (n,), 0 to 4; None where there are fewer than 50 faces.
    """
    prints = [one for faces in parts for one in faces.hash_pixels()]
    if len(set(prints)) < FEWEST_FACES:
        return None
    labels = [label for faces in parts for label in faces.labels.tolist()]
    first = dict(zip(reversed(prints), reversed(labels), strict=True))
    order = sorted(first, key=lambda one: (first[one], one))
    fold = {one: place % FOLDS for place, one in enumerate(order)}
    return np.array([fold[one] for one in prints], np.int64)


def fit_temperatures(
    logits: NDArray[np.float32], truth: Truth, folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return for each face the temperature that fits the faces of the other folds; shape (n,)."""
    temperatures = np.empty(len(logits))
    for fold in np.unique(folds):
        others = folds != fold
        temperatures[~others] = fit_temperature(logits[others], truth[others])
    return temperatures


def choose_thresholds(
    logits: NDArray[np.float32],
    temperatures: NDArray[np.float64],
    folds: NDArray[np.int64],
    coverage: float,
) -> NDArray[np.float64]:
    """Return for each face the threshold that gives the other folds a coverage; shape (n,).

    Args:
        logits: Of the faces that a threshold is chosen on, (n, classes).
        temperatures: As `fit_temperatures` returns them, (n,).
        folds: The fold of each, (n,).
        coverage: As in `choose_threshold`.
    """
    thresholds = np.empty(len(logits))
    for fold in np.unique(folds):
        members = folds == fold
        others = ~members if (~members).any() else members
        temperature = temperatures[members][0]  # fitted without this fold
        chances = softmax(logits[others].astype(np.float64) / temperature, axis=1)
        thresholds[members] = choose_threshold(chances, coverage)
    return thresholds
