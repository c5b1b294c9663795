"""The figures of a self-test, and a drawn picture that shows whether two machines read alike.

The picture has colour, an odd size, hard edges and fine lines, so that another conversion to gray,
another crop or another resize filter changes its 48×48 pixels. Training records them in the
checkpoint, export refuses to go on where they differ, and the self-test repeats them on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_PIXEL_DIFFERENCE = 1  # of 255: roundings of another build of Pillow


def draw_probe() -> NDArray[np.uint8]:
    """Draw the picture; uint8 RGB, shape (101, 131, 3). It must never change."""
    y, x = np.mgrid[0:101, 0:131]
    red = np.where((x // 5 + y // 7) % 2 == 0, 230, 20)
    green = (x * 2 + y) % 256
    blue = np.where((x - 65) ** 2 + (y - 50) ** 2 < 900, 250, (x * y) % 128)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def measure_pixel_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Return the largest absolute difference of a pixel, 0 to 255."""
    return int(np.abs(first.astype(np.int16) - second).max())


@dataclass(frozen=True)
class SelfTest:
    """How this machine's answers to the golden inputs compare with those of the proof.

    Attributes:
        inputs: Number of golden inputs.
        max_difference: Largest absolute difference of a logit.
        tolerance: What the file allows.
        label_flips: Inputs whose label differs.
        pixel_difference: Largest difference, of 255, between the probe picture as this machine
            reads it and as the training read it; None where the file has no probe.
        other_difference: Largest absolute difference of the output `other`; None in files
            without it.
        other_tolerance: What the tolerance of the logits allows of that difference.
        mean_difference: Mean absolute difference of the logits.
        mean_tolerance: What the file allows of it; None where it sets no limit.
        graph_changed: Whether the graph in the file is another one than was exported; None where
            the file does not record it, or is in onnxruntime's own format.
    """

    inputs: int
    max_difference: float
    tolerance: float
    label_flips: int
    pixel_difference: int | None = None
    other_difference: float | None = None
    other_tolerance: float = 0.0
    mean_difference: float = 0.0
    mean_tolerance: float | None = None
    graph_changed: bool | None = None

    @property
    def passed(self) -> bool:
        """Say whether the file is proven on this machine."""
        return not self.failures()

    def failures(self) -> list[str]:
        """Say what does not hold, each with its figures."""
        found = []
        if self.graph_changed:
            found.append("the operators or weights in the file have changed since it was exported")
        if self.label_flips:
            found.append(f"{self.label_flips} of {self.inputs} golden inputs get another label")
        if not self.max_difference <= self.tolerance:  # a NaN too
            found.append(
                f"the largest logit difference is {self.max_difference:.2g} (allowed "
                f"{self.tolerance:.2g}): this onnxruntime or chip computes otherwise"
            )
        if self.mean_tolerance is not None and not self.mean_difference <= self.mean_tolerance:
            found.append(
                f"the mean logit difference is {self.mean_difference:.2g} (allowed "
                f"{self.mean_tolerance:.2g}): this onnxruntime or chip computes otherwise"
            )
        # The logits of the classes that `other` adds up are no output: a fault there shows here.
        if self.other_difference is not None and not self.other_difference <= self.other_tolerance:
            found.append(
                f"the largest difference of the output other is {self.other_difference:.2g} "
                f"(allowed {self.other_tolerance:.2g}): this onnxruntime or chip computes otherwise"
            )
        if self.pixel_difference is not None and self.pixel_difference > MAX_PIXEL_DIFFERENCE:
            found.append(
                f"a picture is read {self.pixel_difference} of 255 off what the training read: "
                f"this Pillow decodes or resizes otherwise"
            )
        return found
