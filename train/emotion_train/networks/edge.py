"""The network for small devices: one early stride, then 3×3 convolutions and max pooling.

Depthwise convolutions need few multiply-adds, but memory bandwidth limits them. At these sizes
onnxruntime runs a 3×3 convolution of 16 to 128 channels near the peak rate of the CPU. All channel
counts are multiples of 16, the block size of its kernels. In trials, pooling learned faster than
further strides, and plain layers faster than shortcuts (EXPERIMENTS.md).
"""

from __future__ import annotations

from torch import nn

from emotion_train.networks.scaling import ContrastNormalisation as Scaling

__all__ = ["Scaling", "build"]


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> list[nn.Module]:
    """Return a 3×3 convolution with batch normalisation, which export folds into it."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def build(classes: int, size: int = 48, *, width: int = 1) -> nn.Module:
    """Return the network for float32 (batch, 1, size, size).

    At 48 pixels and three classes it has 485,683 parameters.

    Args:
        classes: Number of classes.
        size: Side of the faces, in pixels.
        width: Factor on all channel counts.
    """
    channels = [width * count for count in (16, 32, 64, 96, 128)]
    side = (size + 1) // 16  # after one stride and three poolings
    return nn.Sequential(
        *_convolution(1, channels[0], stride=2),  # 24×24
        *_convolution(channels[0], channels[1]),
        nn.MaxPool2d(2),  # 12×12
        *_convolution(channels[1], channels[2]),
        nn.MaxPool2d(2),  # 6×6
        *_convolution(channels[2], channels[3]),
        *_convolution(channels[3], channels[4]),
        nn.MaxPool2d(2),  # 3×3
        # Flatten instead of average pooling: faces are aligned, so position carries information.
        nn.Flatten(),
        nn.Linear(side * side * channels[4], 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, classes),
    )
