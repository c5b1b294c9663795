"""The reference network, against which the others are measured."""

from __future__ import annotations

from torch import nn


def build(classes: int, size: int = 48) -> nn.Module:
    """Return the network for float32 (batch, 1, size, size).

    At 48 pixels and three classes it has 1,494,851 parameters.
    """
    layers: list[nn.Module] = []
    channels = 1
    for first, second in ((16, 32), (64, 64), (128, 128)):
        layers += [nn.Conv2d(channels, first, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = second
    layers += [nn.Flatten(), nn.Linear(128 * (size // 8) ** 2, 256), nn.ReLU()]
    layers += [nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, classes)]
    return nn.Sequential(*layers)
