"""Metrics: what a network's logits are worth against labels. scikit-learn does the counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import nn

CALIBRATION_BINS = 15


@dataclass(frozen=True, eq=False)
class Metrics:
    """Figures of one network on one set of faces.

    Attributes:
        accuracy: Part of the labels predicted, 0 to 1.
        precision, recall, f1: float64, shape (classes,), 0 where undefined.
        support: Faces of each true class, int64, shape (classes,).
        confusion: int64 (classes, classes), rows true, columns predicted.
        calibration_error: Expected calibration error over 15 bins of equal width (Guo et al.,
            "On Calibration of Modern Neural Networks", 2017), 0 to 1.
        loss: Mean cross-entropy in nats, after the temperature.
    """

    accuracy: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    confusion: NDArray[np.int64]
    calibration_error: float
    loss: float

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean recall of all classes; None where one of them has no face."""
        return float(self.recall.mean()) if (self.support > 0).all() else None

    @property
    def missing(self) -> list[int]:
        """The classes of which there is no face; no figure covers them."""
        return [int(label) for label in np.flatnonzero(self.support == 0)]

    @property
    def never_predicted(self) -> list[int]:
        """The classes that have faces and that no face was given."""
        predicted = self.confusion.sum(axis=0)
        return [int(label) for label in np.flatnonzero((predicted == 0) & (self.support > 0))]

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain JSON values, rounded to six places; None where a figure is undefined."""
        balanced, predicted = self.balanced_accuracy, self.confusion.sum(axis=0)
        return {
            "pictures": int(self.support.sum()),
            "accuracy": round(self.accuracy, 6),
            "balanced_accuracy": None if balanced is None else round(balanced, 6),
            "missing_classes": [classes[label] for label in self.missing],
            "never_predicted": [classes[label] for label in self.never_predicted],
            "calibration_error": round(self.calibration_error, 6),
            "cross_entropy": round(self.loss, 6),
            "classes": {
                name: {
                    "precision": _defined(self.precision[i], predicted[i]),
                    "recall": _defined(self.recall[i], self.support[i]),
                    "f1": _defined(self.f1[i], self.support[i]),
                    "support": int(self.support[i]),
                }
                for i, name in enumerate(classes)
            },
            "confusion_matrix": self.confusion.tolist(),
        }


def _defined(figure: float, counted: int) -> float | None:
    """Round a figure; None where it is a part of nothing."""
    return round(float(figure), 6) if counted else None


@torch.inference_mode()
def predict_logits(
    network: nn.Module, pixels: NDArray[np.uint8], batch_size: int = 256
) -> NDArray[np.float32]:
    """Run `network`, in evaluation mode, over uint8 (n, size, size); returns (n, classes)."""
    first = next(network.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    was_training = network.training
    network.eval()
    logits = [
        network(torch.from_numpy(part).unsqueeze(1).to(device)).float().cpu().numpy()
        for part in np.array_split(pixels, range(batch_size, len(pixels), batch_size))
    ]
    network.train(was_training)
    return np.concatenate(logits)


def measure(
    logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float = 1.0
) -> Metrics:
    """Compare logits (n, classes) with labels (n,), n ≥ 1."""
    classes = list(range(logits.shape[1]))
    predicted = logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0.0
    )
    scaled = logits.astype(np.float64) / temperature
    return Metrics(
        accuracy=float((predicted == labels).mean()),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support.astype(np.int64),
        confusion=confusion_matrix(labels, predicted, labels=classes),
        calibration_error=calibration_error(softmax(scaled, axis=1), labels),
        loss=cross_entropy(scaled, labels),
    )


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, by confidence."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature that makes held-out faces most likely (Guo et al., 2017)."""
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits.astype(np.float64) / np.exp(log_t), labels),
        bounds=(np.log(0.1), np.log(10.0)),
        method="bounded",
    )
    return float(np.exp(found.x))
