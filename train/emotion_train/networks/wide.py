"""The edge network with twice the channels, meant as its teacher."""

from __future__ import annotations

from torch import nn

from emotion_train.networks import edge
from emotion_train.networks.edge import Scaling

__all__ = ["Scaling", "build"]


def build(classes: int, size: int = 48) -> nn.Module:
    """Return the network for float32 (batch, 1, size, size)."""
    return edge.build(classes, size, width=2)
