"""How large a picture may be: what bounds the memory and the time that one picture costs.

The limit counts the pixels that are decoded. A JPEG that is decoded at an eighth of its scale
counts as an eighth of its width and height; other formats are decoded in full. With the default
of 64 million pixels one picture takes at most about 1.5 GB (an animated WebP or a progressive
JPEG; 0.5 GB for other formats), so a worker needs that much.

`PIL.Image.MAX_IMAGE_PIXELS` belongs to the program around this library and is never set here. Where
it is lower than Pillow's own default, the lower limit holds.
"""

from __future__ import annotations

import os

from PIL import Image

MAX_PIXELS = 64_000_000
PIXEL_LIMIT_VARIABLE = "EMOTION_EDGE_MAX_PIXELS"

_PILLOW_DEFAULT = 1024 * 1024 * 1024 // 4 // 3
_MAX_BYTES_PER_PIXEL = 8  # of a file: four channels of 16 bits, not compressed

_pixel_limit: int | None = None


class Refusal(Exception):  # noqa: N818  a reason, on its way to a PictureError
    """Why a picture is not decoded; the reader adds the picture's name."""


def set_pixel_limit(pixels: int | None) -> None:
    """Set how many pixels of one picture may be decoded, for this process.

    Args:
        pixels: The limit; None for the environment variable ``EMOTION_EDGE_MAX_PIXELS``, or
            `MAX_PIXELS` where that is not set.

    Raises:
        ValueError: `pixels` is less than one.
    """
    global _pixel_limit
    if pixels is not None and pixels < 1:
        raise ValueError(f"the pixel limit is {pixels}; it must be 1 or more.")
    _pixel_limit = pixels


def get_pixel_limit() -> int:
    """Return how many pixels of one picture may be decoded.

    Raises:
        Refusal: The environment variable holds no positive whole number.
    """
    limit = _pixel_limit
    if limit is None:
        text = os.environ.get(PIXEL_LIMIT_VARIABLE)
        limit = MAX_PIXELS
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise Refusal(
                    f"not read: {PIXEL_LIMIT_VARIABLE} is {text!r}, not a number of pixels"
                )
            limit = int(text)
    own = Image.MAX_IMAGE_PIXELS
    # Pillow refuses what exceeds twice its limit.
    return limit if own is None or own >= _PILLOW_DEFAULT else min(limit, 2 * own)


def get_file_limit() -> int:
    """Return the size in bytes of the largest file that is read."""
    return _MAX_BYTES_PER_PIXEL * max(get_pixel_limit(), MAX_PIXELS)


def check_pixels(width: int, height: int, *, share: float = 1.0, what: str = "") -> None:
    """Refuse a picture of more pixels than `get_pixel_limit`.

    Args:
        width: Of what will be decoded, in pixels.
        height: Of what will be decoded, in pixels.
        share: Of the limit that the format may use: slow decoders get less than 1.
        what: The format, where `share` is not 1.

    Raises:
        Refusal: There are more.
    """
    limit = int(get_pixel_limit() * share)
    if width * height > limit:
        kind = f" for {what}" if what else ""
        raise Refusal(
            f"{width:,}×{height:,} pixels, refused: the limit{kind} is {limit:,} pixels "
            f"({PIXEL_LIMIT_VARIABLE} sets another)"
        )
