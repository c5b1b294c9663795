"""Small JPEGs straight to gray, past the Python that is most of the time of a 48×48 face.

`PIL.Image.open` on such a face is three quarters Python: plugins, header, tiles. Pillow's own
decoder, given the bytes and the size, takes half of that; the extra ``fast``
brings libjpeg-turbo's binding, which takes a fifth. Both give the same pixels, byte for byte. All
that is not plain is left to `preprocessing.process_picture`: large pictures (there the decoder itself is
what takes the time), EXIF and XMP (orientation), CMYK, and whatever looks damaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import simplejpeg
except ImportError:  # the extra is not installed
    simplejpeg = None

SMALL_FILE_BYTES = 1 << 16  # bytes
_LUMINANCE_MODES = ("Gray", "YCbCr")  # luminance is there as it is

_FRAME_MARKERS = (0xC0, 0xC1, 0xC2)  # markers of baseline, extended and progressive frames
_SCAN_CODE = 0xDA
_SCAN_MARKER = b"\xff\xda"
_MAX_SCANS = 30  # progressive files have ten or so


def decode_small_jpeg(data: bytes, size: int) -> NDArray[np.uint8] | None:
    """Decode to gray as `PIL.Image.open` would.

    Args:
        data: An encoded picture of any format.
        size: The side that is wanted; only what Pillow would not decode at reduced scale for it
            is decoded here.

    Returns:
        uint8, shape (height, width), or None where Pillow should open it.
    """
    if len(data) > SMALL_FILE_BYTES or data[:3] != b"\xff\xd8\xff":
        return None
    # What may hold an orientation, or scans that each go over the whole picture.
    if b"Exif\0" in data or b"ns.adobe.com/xap/" in data or data.count(_SCAN_MARKER) > _MAX_SCANS:
        return None
    try:
        return (_decode_with_pillow if simplejpeg is None else _decode_with_simplejpeg)(data, size)
    except ValueError:
        return None  # Image.open says what is wrong with it


def _decode_with_simplejpeg(data: bytes, size: int) -> NDArray[np.uint8] | None:
    height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
    if min(height, width) >= 4 * size or colour not in _LUMINANCE_MODES:
        return None
    pixels: Any = simplejpeg.decode_jpeg(data, "GRAY")
    gray: NDArray[np.uint8] = pixels[:, :, 0]
    return gray


def _decode_with_pillow(data: bytes, size: int) -> NDArray[np.uint8] | None:
    shape = _find_frame_size(data)
    if shape is None or min(shape) >= 4 * size:
        return None
    height, width = shape
    # Colour too comes out as its luminance: what Pillow's draft("L") asks of the decoder.
    gray = Image.frombytes("L", (width, height), data, "jpeg", "L", "")
    return np.array(gray)


def _find_frame_size(data: bytes) -> tuple[int, int] | None:
    """Find height and width in the segments before the scan (ITU-T T.81, annex B).

    Returns:
        None where it is no frame of eight bits with one or three components.
    """
    position, end = 2, len(data) - 10
    while position < end:
        start, marker, high, low = data[position : position + 4]
        if start != 0xFF or marker in (0xFF, _SCAN_CODE):
            return None
        if marker in _FRAME_MARKERS:
            bits, h1, h0, w1, w0, components = data[position + 4 : position + 10]
            height, width = h1 << 8 | h0, w1 << 8 | w0
            plain = bits == 8 and components in (1, 3) and height and width
            return (height, width) if plain else None
        position += 2 + (high << 8 | low)
    return None
