"""From pixels in 0…255 to what a network likes, as its first layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaling(nn.Module):
    """Maps pixels of shape (…, 1, size, size) to float32; may learn from the training pixels."""

    def fit(self, pixels: Tensor) -> None:
        """Look at the uint8 training pixels once; the default learns nothing."""


class PixelScaling(Scaling):
    """Scale pixels in 0…255 to zero mean and unit deviation over the training set."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(127.5))
        self.register_buffer("std", torch.tensor(63.75))

    def fit(self, pixels: Tensor) -> None:
        """Set mean and deviation from uint8 training pixels of any shape."""
        # float64: a float32 sum over 40 million pixels loses its last digits.
        std, mean = torch.std_mean(pixels.to(torch.float64))
        self.mean.fill_(mean.item())
        self.std.fill_(max(std.item(), 1.0))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        return (pixels.to(torch.float32) - self.mean) / self.std


class ContrastNormalisation(Scaling):
    """Scale every picture to zero mean and unit deviation of its own: light and contrast go.

    One operator in ONNX (InstanceNormalization). What keeps a flat picture from being blown up
    to noise is the variance added, that of five gray levels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise = nn.InstanceNorm2d(1, eps=25.0)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return float32 (batch, 1, height, width)."""
        normalised: Tensor = self.normalise(pixels.to(torch.float32))
        return normalised
