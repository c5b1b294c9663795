"""Run a network, and measure its logits against labels as ``emotion-eval`` measures a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import nn

from emotion_runtime.evaluate.metrics import (
    CALIBRATION_BINS,
    Metrics,
    compute_calibration_error,
    measure_probabilities,
)

__all__ = [
    "CALIBRATION_BINS",
    "Metrics",
    "Reliability",
    "Truth",
    "compute_calibration_error",
    "cross_entropy",
    "fit_temperature",
    "measure",
    "measure_reliability",
    "predict_logits",
    "scale",
]

# Labels, int64 (n,), or soft labels, float32 (n, classes).
Truth = NDArray[Any]


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
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    temperature: float | NDArray[np.float64] = 1.0,
) -> Metrics:
    """Compare logits with labels; the softmax is computed in float64.

    Args:
        logits: Shape (n, classes), n ≥ 1.
        labels: Shape (n,).
        temperature: One for all faces, or one for each, shape (n,).
    """
    scaled = scale(logits, temperature)
    metrics = measure_probabilities(softmax(scaled, axis=1), labels)
    # From the logits: a probability may be too small for a float64.
    return replace(metrics, cross_entropy=cross_entropy(scaled, labels))


def scale(
    logits: NDArray[np.float32], temperature: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Divide logits (n, classes) by one temperature, or by one for each face, shape (n,)."""
    divided: NDArray[np.float64] = logits.astype(np.float64) / np.reshape(temperature, (-1, 1))
    return divided


def cross_entropy(logits: NDArray[np.floating[Any]], truth: Truth) -> float:
    """Return the mean negative log-likelihood, in nats.

    Args:
        logits: Shape (n, classes).
        truth: Labels, int64 (n,), or soft labels, shape (n, classes), rows that add up to 1.
    """
    likely = log_softmax(logits, axis=1)
    if truth.ndim == 1:
        return float(-likely[np.arange(len(truth)), truth].mean())
    return float(-(truth * likely).sum(axis=1).mean())


def fit_temperature(logits: NDArray[np.float32], truth: Truth) -> float:
    """Find the temperature that makes held-out faces most likely (Guo et al., 2017).

    Args:
        logits: Shape (n, classes).
        truth: As in `cross_entropy`.
    """
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits.astype(np.float64) / np.exp(log_t), truth),
        bounds=(np.log(0.1), np.log(10.0)),
        method="bounded",
    )
    return float(np.exp(found.x))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, by bins of equal width (Guo et al., 2017).

    Attributes:
        pictures: int64 (bins,): how many have a confidence in the bin.
        right: float64 (bins,): how many of these are right; with soft labels, the sum of what
            these give to the predicted label.
        confidence: float64 (bins,): the sum of their confidences.
    """

    pictures: NDArray[np.int64]
    right: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Return the expected calibration error, 0 to 1."""
        return float(np.abs(self.right - self.confidence).sum() / self.pictures.sum())


def measure_reliability(
    probabilities: NDArray[np.float64], truth: Truth, bins: int = CALIBRATION_BINS
) -> Reliability:
    """Sort predictions into the bins of `compute_calibration_error`.

    Args:
        probabilities: Shape (n, classes).
        truth: As in `cross_entropy`.
        bins: How many.
    """
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    rows = np.arange(len(truth))
    right = predicted == truth if truth.ndim == 1 else truth[rows, predicted]
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return Reliability(
        np.bincount(which, minlength=bins),
        np.bincount(which, weights=right, minlength=bins).astype(np.float64),
        np.bincount(which, weights=confidence, minlength=bins).astype(np.float64),
    )
