"""What every network has in common: pixels as they come go in, logits come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PixelScaling(nn.Module):
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


class FaceNetwork(nn.Module):
    """A registered network with its pixel scaling in front, which travels with its weights."""

    def __init__(self, name: str, body: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.scaling = PixelScaling()
        self.body = body

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (batch, 1, 48, 48) in 0…255, uint8 or float, to logits (batch, classes)."""
        logits: Tensor = self.body(self.scaling(pixels))
        return logits


def parameter_count(network: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
