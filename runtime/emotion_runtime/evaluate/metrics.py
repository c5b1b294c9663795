"""Classification metrics: accuracy, precision, recall, F1, confusion matrix, calibration error.

They need only numpy, so that a device can evaluate a model. Training uses the same functions, so
that both report the same figures for the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15


@dataclass(frozen=True, eq=False)
class Metrics:
    """Metrics of a model on a set of labelled pictures.

    Attributes:
        confusion: Confusion matrix, int64 (classes, classes), rows true, columns predicted.
        calibration_error: Expected calibration error over 15 bins of equal width (Guo et al.,
            "On Calibration of Modern Neural Networks", 2017), 0 to 1.
        cross_entropy: Mean negative log-likelihood of the labels, in nats.
    """

    confusion: NDArray[np.int64]
    calibration_error: float
    cross_entropy: float

    @property
    def support(self) -> NDArray[np.int64]:
        """Return the number of pictures of each true class, int64 (classes,)."""
        support: NDArray[np.int64] = self.confusion.sum(axis=1)
        return support

    @property
    def accuracy(self) -> float:
        """Return the share of correct predictions, 0 to 1."""
        return float(self.confusion.trace() / self.confusion.sum())

    @property
    def balanced_accuracy(self) -> float | None:
        """Return the mean recall; None where a class has no picture."""
        return float(self.recall.mean()) if self.support.all() else None

    @property
    def precision(self) -> NDArray[np.float64]:
        """Return the share of each class's predictions that is correct; 0 without predictions."""
        return _divide(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Return the share of each class's pictures that is found; 0 without pictures."""
        return _divide(self.confusion.diagonal(), self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Return the harmonic mean of precision and recall of each class."""
        return _divide(
            2 * self.confusion.diagonal(), self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        )

    @property
    def macro_f1(self) -> float | None:
        """Return the mean F1 of the classes; None where a class has no picture."""
        return float(self.f1.mean()) if self.support.all() else None

    @property
    def missing(self) -> list[int]:
        """Return the indices of the classes without a picture."""
        return [int(label) for label in np.flatnonzero(self.support == 0)]

    @property
    def never_predicted(self) -> list[int]:
        """Return the indices of the classes that have pictures and are never predicted."""
        predicted = self.confusion.sum(axis=0)
        return [int(label) for label in np.flatnonzero((predicted == 0) & (self.support > 0))]

    def accuracy_interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval of the accuracy."""
        return compute_wilson_interval(int(self.confusion.trace()), int(self.confusion.sum()))

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return JSON values, rounded to six places; None where a figure is not defined.

        Precision is not defined for a class that is never predicted, nor recall and F1 for a class
        without pictures.
        """
        balanced, predicted = self.balanced_accuracy, self.confusion.sum(axis=0)
        macro_f1 = self.macro_f1
        return {
            "pictures": int(self.confusion.sum()),
            "accuracy": round(self.accuracy, 6),
            "accuracy_interval": [round(bound, 6) for bound in self.accuracy_interval()],
            "balanced_accuracy": None if balanced is None else round(balanced, 6),
            "macro_f1": None if macro_f1 is None else round(macro_f1, 6),
            "missing_classes": [classes[label] for label in self.missing],
            "never_predicted": [classes[label] for label in self.never_predicted],
            "calibration_error": round(self.calibration_error, 6),
            "cross_entropy": round(self.cross_entropy, 6),
            "classes": {
                name: {
                    "precision": _round_if_defined(self.precision[i], predicted[i]),
                    "recall": _round_if_defined(self.recall[i], self.support[i]),
                    "f1": _round_if_defined(self.f1[i], self.support[i]),
                    "support": int(self.support[i]),
                }
                for i, name in enumerate(classes)
            },
            "confusion_matrix": self.confusion.tolist(),
        }


def _round_if_defined(figure: float, count: int) -> float | None:
    """Return a rounded figure; None where the count that it is a share of is 0."""
    return round(float(figure), 6) if count else None


def measure_probabilities(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]
) -> Metrics:
    """Return the metrics of the most probable labels.

    Args:
        probabilities: Float, shape (n, classes), n ≥ 1.
        labels: Indices of the true classes, int64, shape (n,).

    Raises:
        ValueError: There are no predictions.
    """
    if not len(labels):
        raise ValueError("no predictions to compare with labels")
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes * classes)
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Metrics(
        confusion=confusion.reshape(classes, classes).astype(np.int64),
        calibration_error=compute_calibration_error(probabilities, labels),
        cross_entropy=float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean()),
    )


def compute_calibration_error(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    bins: int = CALIBRATION_BINS,
) -> float:
    """Return the expected calibration error: the mean gap of confidence and accuracy over bins."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def compute_wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson, 1927), 0 to 1.

    Raises:
        ValueError: `count` is 0.
    """
    if count < 1:
        raise ValueError("a proportion of nothing has no interval")
    z = 1.959964
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _divide(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return quotients, with 0 for a divisor of 0."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)
