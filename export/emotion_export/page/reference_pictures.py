"""Pictures that show whether a browser reads files as training does: one of each kind.

A browser may alter what a page reads from a canvas, to resist fingerprinting, or decode a kind of
file in its own way. The page therefore reads these files as it reads a person's, and compares.
"""

from __future__ import annotations

import base64
import io
import json

import numpy as np
from PIL import Image

from emotion_runtime.model.self_test import MAX_PIXEL_DIFFERENCE, draw_probe
from emotion_runtime.pictures.preprocessing import read_face

_EXIF_ORIENTATION = 0x0112
_TURN_RIGHT = 6  # turn the stored picture by 90° clockwise to see it upright

# Largest difference of a gray pixel, of 255, at full resolution. Measured in Chromium 156 and
# Firefox 153: 0 and 0 in a JPEG, 0 and 1 in a transparent PNG; the rest is for other decoders.
JPEG_TOLERANCE = 4  # another rounding of the cosine transform
ALPHA_TOLERANCE = 2  # colours are multiplied by alpha in eight bits first


def reference_pictures() -> str:
    """Return the pictures and their expected pixels as JSON.

    Returns:
        An object with `side`, and `pictures`: a list of objects with the name of the `kind`, the
        `tolerance` in steps of 255, the encoded file as `data`, and the `pixels` that
        `read_face(data, side)` gives: uint8 (side, side). Both are base64.
    """
    drawn = draw_probe()
    side = min(drawn.shape[:2])  # the central square at full resolution: nothing is averaged
    image = Image.fromarray(drawn)
    pictures = [
        ("a PNG", MAX_PIXEL_DIFFERENCE, _png(image)),
        ("a turned JPEG", JPEG_TOLERANCE, _turned_jpeg(image)),
        ("a transparent PNG", ALPHA_TOLERANCE, _transparent_png(image)),
    ]
    values = {
        "side": side,
        "pictures": [
            {
                "kind": kind,
                "tolerance": tolerance,
                "data": _base64(data),
                "pixels": _base64(read_face(data, side).tobytes()),
            }
            for kind, tolerance, data in pictures
        ],
    }
    return json.dumps(values)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _turned_jpeg(image: Image.Image) -> bytes:
    """Encode with the orientation in Exif.

    Its colours are muted. Of strong ones Python takes the luma that the file stores, while a
    browser clips them to RGB first, and single pixels are then up to 20 of 255 apart.
    """
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _TURN_RIGHT
    muted = Image.blend(image.convert("L").convert("RGB"), image, 0.25)
    stored = Image.blend(Image.new("RGB", image.size, (128, 128, 128)), muted, 0.75)
    buffer = io.BytesIO()
    stored.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def _transparent_png(image: Image.Image) -> bytes:
    """Let it fade out from left to right."""
    alpha = np.linspace(255, 0, image.width).astype(np.uint8)
    transparent = image.copy()
    transparent.putalpha(Image.fromarray(np.tile(alpha, (image.height, 1))))
    return _png(transparent)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
