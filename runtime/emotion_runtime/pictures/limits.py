"""Limit the size of pictures, and so the memory and time that one picture takes.

The limit applies to the pixels that are decoded. A JPEG that is decoded at an eighth of its scale
counts with an eighth of its width and height; other formats are decoded in full. At the default of
64 million pixels, one picture takes up to about 1.5 GB as an animated WebP or a progressive JPEG,
and 0.5 GB in other formats. Each worker needs that much.

`PIL.Image.MAX_IMAGE_PIXELS` belongs to the calling program and is never changed here. Where it is
lower than Pillow's own default, the lower limit applies.
"""

from __future__ import annotations

import os

from PIL import Image

MAX_PIXELS = 64_000_000
PIXEL_LIMIT_VARIABLE = "EMOTION_EDGE_MAX_PIXELS"

_PILLOW_DEFAULT = 1024 * 1024 * 1024 // 4 // 3
_MAX_BYTES_PER_PIXEL = 8  # in a file: four channels of 16 bits, uncompressed

_pixel_limit: int | None = None


class Refusal(Exception):  # noqa: N818  converted to a PictureError
    """The reason why a picture is not decoded, without the picture's name."""


def set_pixel_limit(pixels: int | None) -> None:
    """Set the pixel limit of this process.

    Args:
        pixels: Largest number of pixels of one picture. None for the environment variable
            ``EMOTION_EDGE_MAX_PIXELS``, or `MAX_PIXELS` where that is not set.

    Raises:
        ValueError: `pixels` is less than one.
    """
    global _pixel_limit
    if pixels is not None and pixels < 1:
        raise ValueError(f"the pixel limit is {pixels}; it must be 1 or more.")
    _pixel_limit = pixels


def get_pixel_limit() -> int:
    """Return the largest number of pixels of one picture that may be decoded.

    Raises:
        Refusal: The environment variable is not a positive integer.
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
    # Pillow refuses pictures of more than twice its limit.
    return limit if own is None or own >= _PILLOW_DEFAULT else min(limit, 2 * own)


def get_file_limit() -> int:
    """Return the size in bytes of the largest file that is read."""
    return _MAX_BYTES_PER_PIXEL * max(get_pixel_limit(), MAX_PIXELS)


def check_pixels(width: int, height: int, *, share: float = 1.0, what: str = "") -> None:
    """Refuse a picture of more pixels than `get_pixel_limit`.

    Args:
        width: Width after decoding, in pixels.
        height: Height after decoding, in pixels.
        share: Share of the limit that applies to the format: less than 1 for slow decoders.
        what: Name of the format, where `share` is not 1.

    Raises:
        Refusal: The picture has more pixels.
    """
    limit = int(get_pixel_limit() * share)
    if width * height > limit:
        kind = f" for {what}" if what else ""
        raise Refusal(
            f"{width:,}×{height:,} pixels, refused: the limit{kind} is {limit:,} pixels "
            f"({PIXEL_LIMIT_VARIABLE} sets another)"
        )
