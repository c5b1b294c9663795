"""Convert any of Pillow's modes to eight bits per channel, without transparency.

Deeper channels are scaled as the file's format defines: of 16 bits the high byte is kept, as
Pillow does for 16-bit colour and libpng in `png_set_strip_16`. Where no format defines a range
(32-bit and floating-point pixels), values from 0 to 255 are kept and others are refused, so that
nothing is clipped.

Large pictures are converted in strips, which avoids a second copy with four channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.pictures.limits import Refusal

_STRIP_PIXELS = 1 << 20
_PHOTOMETRIC_TAG, _BITS_TAG, _SAMPLE_FORMAT_TAG = 262, 258, 339  # tags of TIFF


def to_gray(image: Image.Image) -> Image.Image:
    """Return the picture in mode ``L`` (ITU-R 601-2), white where it is transparent.

    An ``L`` picture is returned itself; others are not changed.

    Raises:
        Refusal: Its pixels have no defined scale.
    """
    check_samples(image)
    if image.mode == "L" and "transparency" not in image.info:
        return image
    return _convert_in_strips(image, "L", lambda part: flatten(part).convert("L"))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in mode ``RGB``, white where it is transparent.

    An ``RGB`` picture is returned itself; others are not changed.

    Raises:
        Refusal: Its pixels have no defined scale.
    """
    check_samples(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    return _convert_in_strips(image, "RGB", lambda part: flatten(part).convert("RGB"))


def flatten(image: Image.Image) -> Image.Image:
    """Return the picture with eight bits a channel, white where it is transparent.

    Raises:
        Refusal: Its pixels have no defined scale.
    """
    check_samples(image)
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        return _scale_to_eight_bits(image)
    if mode == "LAB":
        return _convert_lab(image)
    if mode == "La":  # Pillow converts it only to LA
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba)
    return image


def check_samples(image: Image.Image) -> None:
    """Refuse a TIFF of signed bytes, which Pillow reads as unsigned.

    Raises:
        Refusal: The samples are signed bytes.
    """
    if image.format == "TIFF" and image.mode == "L" and 2 in _read_tag(image, _SAMPLE_FORMAT_TAG):
        raise Refusal("refused: signed pixels; save it with pixels from 0 to 255")


def _convert_in_strips(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert a picture some rows at a time; each pixel must be converted independently."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    # Pixels without a defined scale are checked for their range over the whole picture.
    if rows >= height or image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return convert(image)
    whole = Image.new(mode, image.size)
    for top in range(0, height, rows):
        part = image.crop((0, top, width, min(top + rows, height)))
        whole.paste(convert(part), (0, top))
    return whole


def _scale_to_eight_bits(image: Image.Image) -> Image.Image:
    """Return gray of more than eight bits in mode ``L``."""
    pixels: NDArray[Any] = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # "I" is a 16-bit PNG in Pillow before 11, or a PGM of more than 255 levels.
        if pixels.dtype.kind == "i" and (pixels.min() < 0 or pixels.max() > 65535):
            raise Refusal("refused: pixels outside 0–65535")
        gray = _take_high_bits(pixels, image)
    else:
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 255):  # also refuses NaN
            raise Refusal(f"refused: pixels outside 0–255 without a defined scale{_SAVE_HINT}")
        if image.mode == "F" and 0 < high <= 1:
            raise Refusal(f"refused: floating-point pixels within 0–1{_SAVE_HINT}")
        if image.format == "TIFF" and 0 in _read_tag(image, _PHOTOMETRIC_TAG):
            raise Refusal(
                f"refused: pixels without a defined scale, in which 0 is white{_SAVE_HINT}"
            )
        gray = np.rint(pixels).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray = np.where(pixels == transparent, np.uint8(255), gray)
    return Image.fromarray(gray)


_SAVE_HINT = "; save it with 8 or 16 bits a channel"


def _take_high_bits(pixels: NDArray[Any], image: Image.Image) -> NDArray[np.uint8]:
    """Return the eight highest bits of 16, or of 12 in a TIFF."""
    shift = 8
    if image.format == "TIFF":
        if 12 in _read_tag(image, _BITS_TAG):
            shift = 4
        if 0 in _read_tag(image, _PHOTOMETRIC_TAG):  # 0 is white; Pillow does not invert 16 bits
            pixels = 65535 - pixels
    if 0 < pixels.max() < 1 << shift:
        # Probably 8-bit values saved with 16 bits, of which nothing would be left.
        raise Refusal(
            f"refused: {shift + 8}-bit pixels that are all below {1 << shift}, which is black; "
            f"save it with 8 bits a channel"
        )
    return (pixels >> shift).astype(np.uint8)


def _read_tag(image: Image.Image, tag: int) -> tuple[Any, ...]:
    """Return the values of a TIFF tag; an empty tuple for other formats."""
    value = getattr(image, "tag_v2", {}).get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _convert_lab(image: Image.Image) -> Image.Image:
    """Convert CIE L*a*b* to sRGB with LittleCMS, which most builds of Pillow have."""
    try:
        from PIL import ImageCms

        transform = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        converted = ImageCms.applyTransform(image, transform)
    except ImportError as error:
        raise Refusal("a picture in LAB colours, which this Pillow cannot convert") from error
    if converted is None:
        raise Refusal("a picture in LAB colours, which this Pillow cannot convert")
    return converted
