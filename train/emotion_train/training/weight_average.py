"""The exponential moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def build_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """Return a moving average of the weights, whose decay rises to `decay`; None for a decay of 0.

    The decay after n steps is at most (1 + n) / (10 + n), as in TensorFlow's
    ExponentialMovingAverage. Otherwise the random initial weights would dominate short runs.
    """
    if not decay:
        return None

    def update(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        if not average.is_floating_point():
            return value  # the counter of batch normalisation
        current = min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(value, average, current)

    return AveragedModel(network, avg_fn=update, use_buffers=True)
