"""The networks, by name. A further one is a function here and one entry in `NETWORKS`.

Every network takes pixels as they come, (batch, 1, 48, 48) in 0…255, uint8 or float, and gives
logits, float32 (batch, classes): the scaling is its first layer and travels with its weights.
"""

from __future__ import annotations

from collections.abc import Callable

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


def _baseline(classes: int) -> nn.Module:
    """Build the reference network: six 3×3 convolutions, three linear layers, no normalisation."""
    layers: list[nn.Module] = []
    channels = 1
    for first, second in ((16, 32), (64, 64), (128, 128)):
        layers += [nn.Conv2d(channels, first, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = second
    layers += [nn.Flatten(), nn.Linear(128 * 6 * 6, 256), nn.ReLU()]
    layers += [nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, classes)]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "baseline": _baseline,
}


class FaceNetwork(nn.Module):
    """A registered network with its pixel scaling in front."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.name = name
        self.scaling = PixelScaling()
        self.body = NETWORKS[name](classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (batch, 1, 48, 48) in 0…255 to logits (batch, classes)."""
        logits: Tensor = self.body(self.scaling(pixels))
        return logits


def build_network(name: str, classes: int) -> FaceNetwork:
    """Build a registered network with fresh weights from torch's global generator.

    Raises:
        KeyError: No network has that name.
    """
    return FaceNetwork(name, classes)


def parameter_count(network: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
