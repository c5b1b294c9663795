"""Run a network, and measure its logits against labels as ``emotion-eval`` measures a file."""

from __future__ import annotations

from dataclasses import replace
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
    calibration_error,
    measure_probabilities,
)

__all__ = [
    "CALIBRATION_BINS",
    "Metrics",
    "calibration_error",
    "cross_entropy",
    "fit_temperature",
    "measure",
    "predict_logits",
]


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
    """Compare logits (n, classes) with labels (n,), n ≥ 1; the softmax is computed in float64."""
    scaled = logits.astype(np.float64) / temperature
    metrics = measure_probabilities(softmax(scaled, axis=1), labels)
    # From the logits: a probability may be too small for a float64.
    return replace(metrics, cross_entropy=cross_entropy(scaled, labels))


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature that makes held-out faces most likely (Guo et al., 2017)."""
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits.astype(np.float64) / np.exp(log_t), labels),
        bounds=(np.log(0.1), np.log(10.0)),
        method="bounded",
    )
    return float(np.exp(found.x))
