"""The network for small devices: early stride, plain 3×3 convolutions, no depthwise ones.

Depthwise convolutions are cheap on paper, but bound by memory: at these sizes onnxruntime runs a
3×3 convolution of 16 to 64 channels near the machine's full rate. All channels are multiples of
16, the block of its kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotion_train.networks.scaling import ContrastNormalisation as Scaling

__all__ = ["Scaling", "build"]


def _conv(
    inputs: int, outputs: int, *, size: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution and its normalisation, which export folds into it."""
    padding = size // 2 if groups == 1 else 0
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """Two convolutions and a shortcut around them (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(channels, channels), nn.ReLU(), *_conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return torch.relu(x + self.body(x))


def build(classes: int, width: int = 1) -> nn.Module:
    """Build it for float32 (batch, 1, 48, 48).

    Args:
        classes: Logits.
        width: Times the channels; `wide` takes more.
    """
    first, second, third, last = (width * channels for channels in (16, 32, 64, 128))
    return nn.Sequential(
        *_conv(1, first, stride=2), nn.ReLU(),  # 24×24
        *_conv(first, second, stride=2), nn.ReLU(),  # 12×12
        Residual(second),
        *_conv(second, third, stride=2), nn.ReLU(),  # 6×6
        Residual(third),
        Residual(third),
        *_conv(third, last, size=1), nn.ReLU(),
        # A weight for each place instead of an average: faces are aligned, a mouth is below.
        *_conv(last, last, size=6, groups=last),  # 1×1
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(last, classes),
    )  # fmt: skip
