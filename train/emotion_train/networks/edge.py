"""The network for small devices: one early stride, then 3×3 convolutions between poolings.

Depthwise convolutions are cheap on paper, but bound by memory: at these sizes onnxruntime runs a
3×3 convolution of 16 to 128 channels near the machine's full rate. All channels are multiples of
16, the block of its kernels. Pooling instead of further strides, and no shortcuts: both learned
faster in the trials (EXPERIMENTS.md).
"""

from __future__ import annotations

from torch import nn

from emotion_train.networks.scaling import ContrastNormalisation as Scaling

__all__ = ["Scaling", "build"]


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> list[nn.Module]:
    """A 3×3 convolution with its normalisation, which export folds into it."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def build(classes: int, size: int = 48, *, width: int = 1) -> nn.Module:
    """Build it for float32 (batch, 1, size, size); at 48 and three classes 485,683 parameters.

    Args:
        classes: Logits.
        size: Side of the faces, in pixels.
        width: Times the channels; `wide` takes more.
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
        # A weight for each place instead of an average: faces are aligned, a mouth is below.
        nn.Flatten(),
        nn.Linear(side * side * channels[4], 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, classes),
    )
