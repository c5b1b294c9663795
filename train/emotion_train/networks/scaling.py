"""Input scaling: the first layer of a network, from pixels in 0 to 255 to normalised values."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaling(nn.Module):
    """Base class: maps pixels (…, 1, size, size) to float32, perhaps fitted to training pixels."""

    def fit(self, pixels: Tensor) -> None:
        """Fit the scaling to uint8 training pixels; the base class has nothing to fit."""


class PixelScaling(Scaling):
    """Scales pixels to zero mean and unit standard deviation over the training set."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(127.5))
        self.register_buffer("std", torch.tensor(63.75))

    def fit(self, pixels: Tensor) -> None:
        """Set mean and standard deviation from uint8 training pixels of any shape."""
        # float64, because a float32 sum over 40 million pixels is inexact.
        std, mean = torch.std_mean(pixels.to(torch.float64))
        self.mean.fill_(mean.item())
        self.std.fill_(max(std.item(), 1.0))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return scaled pixels, float32, of the same shape."""
        return (pixels.to(torch.float32) - self.mean) / self.std


class ContrastNormalisation(Scaling):
    """Scales each picture to zero mean and unit standard deviation, against light and contrast.

    It is one ONNX operator (InstanceNormalization). The added variance, that of five gray levels,
    keeps uniform pictures from being amplified to noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise = nn.InstanceNorm2d(1, eps=25.0)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return normalised pixels, float32 (batch, 1, height, width)."""
        normalised: Tensor = self.normalise(pixels.to(torch.float32))
        return normalised
