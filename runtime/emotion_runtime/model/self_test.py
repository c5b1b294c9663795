"""A drawn picture that shows whether two machines read pictures alike.

It has colour, an odd size, hard edges and fine lines, so that another conversion to gray, another
crop or another resize filter changes its 48×48 pixels. Training records them in the checkpoint,
export refuses to go on where they differ, and the self-test repeats them on the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1  # of 255: roundings of another build of Pillow


def draw_probe() -> NDArray[np.uint8]:
    """Draw the picture; uint8 RGB, shape (101, 131, 3). It must never change."""
    y, x = np.mgrid[0:101, 0:131]
    red = np.where((x // 5 + y // 7) % 2 == 0, 230, 20)
    green = (x * 2 + y) % 256
    blue = np.where((x - 65) ** 2 + (y - 50) ** 2 < 900, 250, (x * y) % 128)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def pixel_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Return the largest absolute difference of a pixel, 0 to 255."""
    return int(np.abs(first.astype(np.int16) - second).max())
