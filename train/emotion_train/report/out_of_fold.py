"""Cross-fitting of temperature and confidence threshold, for unbiased figures.

Both are fitted on the held-out faces. Measured on the same faces, the calibration error would be
too low and the coverage exactly as requested. Therefore, for each of five folds, they are fitted on
the other folds, as in scikit-learn's ``cross_val_predict``. The values in the model file are fitted
on all held-out faces.
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
MIN_FACES = 50  # below, four fifths are too few to fit a temperature


def assign_folds(parts: Sequence[Faces]) -> NDArray[np.int64] | None:
    """Return the fold of each held-out face, stratified by class, with identical faces together.

    Args:
        parts: The held-out splits, n faces together.

    Returns:
        int64, shape (n,), 0 to 4; None for fewer than 50 different faces.
    """
    hashes = [one for faces in parts for one in faces.hash_pixels()]
    if len(set(hashes)) < MIN_FACES:
        return None
    labels = [label for faces in parts for label in faces.labels.tolist()]
    first_label = dict(zip(reversed(hashes), reversed(labels), strict=True))
    order = sorted(first_label, key=lambda one: (first_label[one], one))
    fold = {one: index % FOLDS for index, one in enumerate(order)}
    return np.array([fold[one] for one in hashes], np.int64)


def fit_temperatures(
    logits: NDArray[np.float32], truth: Truth, folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return for each face the temperature fitted on the other folds, shape (n,)."""
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
    """Return for each face the threshold chosen on the other folds, shape (n,).

    Args:
        logits: Logits of the faces, (n, classes).
        temperatures: The temperature for each face from `fit_temperatures`, (n,).
        folds: The fold of each face, (n,).
        coverage: As in `choose_threshold`.
    """
    thresholds = np.empty(len(logits))
    for fold in np.unique(folds):
        members = folds == fold
        others = ~members if (~members).any() else members
        temperature = temperatures[members][0]  # fitted without this fold
        probabilities = softmax(logits[others].astype(np.float64) / temperature, axis=1)
        thresholds[members] = choose_threshold(probabilities, coverage)
    return thresholds
