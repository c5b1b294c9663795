"""The self-test of a model file, and a probe picture that verifies the preprocessing.

The probe has colour, an odd size, hard edges and fine lines, so that its 48×48 pixels change with
any other conversion to gray, crop or resize filter. Training records these pixels in the
checkpoint, export refuses a checkpoint whose pixels differ, and the self-test compares them on the
device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_PIXEL_DIFFERENCE = 1  # of 255, for the rounding of other builds of Pillow
MAX_PROBABILITY_DIFFERENCE = 0.005  # for a softmax in half precision


def draw_probe() -> NDArray[np.uint8]:
    """Return the probe picture, uint8 RGB, shape (101, 131, 3). It must never change."""
    y, x = np.mgrid[0:101, 0:131]
    red = np.where((x // 5 + y // 7) % 2 == 0, 230, 20)
    green = (x * 2 + y) % 256
    blue = np.where((x - 65) ** 2 + (y - 50) ** 2 < 900, 250, (x * y) % 128)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def measure_pixel_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Return the largest absolute difference of two pixels, 0 to 255."""
    return int(np.abs(first.astype(np.int16) - second).max())


@dataclass(frozen=True)
class SelfTest:
    """The result of a self-test: this machine's outputs compared with the recorded ones.

    Attributes:
        inputs: Number of golden inputs.
        max_difference: Largest absolute difference of a logit.
        tolerance: Largest difference of a logit that the file allows.
        label_flips: Inputs whose label differs.
        pixel_difference: Largest difference, of 255, between the probe as this machine reads it
            and as the training read it; None where the file has no probe.
        other_difference: Largest absolute difference of the output `other`; None in files
            without it.
        other_tolerance: Largest difference of `other` that is allowed.
        mean_difference: Mean absolute difference of the logits.
        mean_tolerance: Largest mean difference that the file allows; None for no limit.
        probability_difference: Largest difference of a probability from the softmax of the logits
            over the temperature that the metadata name.
        graph_changed: Whether the graph in the file differs from the exported one; None where the
            file does not record it, or is in onnxruntime's own format.
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
    probability_difference: float = 0.0
    graph_changed: bool | None = None

    @property
    def passed(self) -> bool:
        """Return whether the file is verified on this machine."""
        return not self.failures()

    def failures(self) -> list[str]:
        """Return one sentence with figures for each failed comparison."""
        failures = []
        # A changed file needs no further reason.
        cause = "" if self.graph_changed else ": this onnxruntime or chip computes differently"
        if self.graph_changed:
            failures.append(
                "the operators or weights in the file have changed since it was exported"
            )
        if self.label_flips:
            failures.append(f"{self.label_flips} of {self.inputs} golden inputs get another label")
        if not self.max_difference <= self.tolerance:  # true for NaN too
            failures.append(
                f"the largest logit difference is {self.max_difference:.2g} (allowed "
                f"{self.tolerance:.2g}){cause}"
            )
        if self.mean_tolerance is not None and not self.mean_difference <= self.mean_tolerance:
            failures.append(
                f"the mean logit difference is {self.mean_difference:.2g} (allowed "
                f"{self.mean_tolerance:.2g}){cause}"
            )
        if not self.probability_difference <= MAX_PROBABILITY_DIFFERENCE:
            failures.append(
                f"a probability differs by {self.probability_difference:.2g} from the softmax of "
                f"the logits over the temperature in the metadata (allowed "
                f"{MAX_PROBABILITY_DIFFERENCE:g})"
            )
        # `other` also depends on classes whose logits are not an output.
        if self.other_difference is not None and not self.other_difference <= self.other_tolerance:
            failures.append(
                f"the largest difference of the output other is {self.other_difference:.2g} "
                f"(allowed {self.other_tolerance:.2g}){cause}"
            )
        if self.pixel_difference is not None and self.pixel_difference > MAX_PIXEL_DIFFERENCE:
            failures.append(
                f"the probe picture differs by {self.pixel_difference} of 255 from the training's: "
                f"this Pillow decodes or resizes differently"
            )
        return failures
