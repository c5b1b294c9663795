"""Small gray-scale decoding of JPEGs by libjpeg-turbo's own binding, where it is installed.

``pip install 'emotion-edge[fast]'`` brings it. On a 48×48 face most of Pillow's time is Python;
this takes a quarter of it and gives the same pixels, byte for byte. All that is not plain is left
to Pillow: large pictures (there the decoder itself is what takes the time, and it is the same
one), EXIF (orientation), CMYK, and whatever looks damaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # the extra is not installed
    simplejpeg = None

SMALL = 1 << 16  # bytes
_GRAY = ("Gray", "YCbCr")  # luminance is there as it is


def is_available() -> bool:
    """Say whether the extra is installed."""
    return simplejpeg is not None


def decode_small_jpeg(data: bytes, size: int) -> NDArray[np.uint8] | None:
    """Decode to gray as Pillow would.

    Args:
        data: An encoded picture of any format.
        size: The side that is wanted; only what Pillow would not decode at reduced scale for it
            is decoded here.

    Returns:
        uint8, shape (height, width), or None where Pillow should do it.
    """
    if simplejpeg is None or len(data) > SMALL or data[:3] != b"\xff\xd8\xff" or b"Exif\0" in data:
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        if min(height, width) >= 4 * size or colour not in _GRAY:
            return None
        pixels: Any = simplejpeg.decode_jpeg(data, "GRAY")
    except ValueError:
        return None  # Pillow says what is wrong with it
    gray: NDArray[np.uint8] = pixels[:, :, 0]
    return gray
