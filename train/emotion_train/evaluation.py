"""Run a network and measure its logits, with the same metrics as ``emotion-eval``."""

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
    """Return the logits of faces, computed in evaluation mode.

    Args:
        network: The network; its training mode is restored afterwards.
        pixels: uint8, shape (n, size, size).
        batch_size: Faces per forward pass.

    Returns:
        float32, shape (n, classes).
    """
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
    """Return the metrics of logits against labels; the softmax is computed in float64.

    Args:
        logits: Shape (n, classes), n ≥ 1.
        labels: Shape (n,).
        temperature: One number for all faces, or one per face, shape (n,).
    """
    scaled = scale(logits, temperature)
    metrics = measure_probabilities(softmax(scaled, axis=1), labels)
    # From the logits: probabilities can underflow float64.
    return replace(metrics, cross_entropy=cross_entropy(scaled, labels))


def scale(
    logits: NDArray[np.float32], temperature: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return logits (n, classes) divided by a temperature, or by one per face, shape (n,)."""
    divided: NDArray[np.float64] = logits.astype(np.float64) / np.reshape(temperature, (-1, 1))
    return divided


def cross_entropy(logits: NDArray[np.floating[Any]], truth: Truth) -> float:
    """Return the mean negative log-likelihood, in nats.

    Args:
        logits: Shape (n, classes).
        truth: Labels, int64 (n,), or soft labels, shape (n, classes), with rows that sum to 1.
    """
    log_probabilities = log_softmax(logits, axis=1)
    if truth.ndim == 1:
        return float(-log_probabilities[np.arange(len(truth)), truth].mean())
    return float(-(truth * log_probabilities).sum(axis=1).mean())


def fit_temperature(logits: NDArray[np.float32], truth: Truth) -> float:
    """Return the temperature that minimises the cross-entropy (Guo et al., 2017).

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
    """Confidence and accuracy in bins of equal width: a reliability diagram (Guo et al., 2017).

    Attributes:
        pictures: int64 (bins,), the number of pictures in each bin.
        right: float64 (bins,), the number of correct predictions; with soft labels, the sum of the
            shares of the predicted labels.
        confidence: float64 (bins,), the sum of the confidences.
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
    """Return the reliability of predictions, in the bins of `compute_calibration_error`.

    Args:
        probabilities: Shape (n, classes).
        truth: As in `cross_entropy`.
        bins: Number of bins.
    """
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    rows = np.arange(len(truth))
    right = predicted == truth if truth.ndim == 1 else truth[rows, predicted]
    bin_index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return Reliability(
        np.bincount(bin_index, minlength=bins),
        np.bincount(bin_index, weights=right, minlength=bins).astype(np.float64),
        np.bincount(bin_index, weights=confidence, minlength=bins).astype(np.float64),
    )
