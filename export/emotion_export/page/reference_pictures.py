"""Reference pictures of the page: they show whether a browser reads files as the training does.

A browser may alter the pixels that a page reads from a canvas, to resist fingerprinting, or decode
a file format differently. So the page reads these files as it reads the user's, and compares.
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
_ROTATED_90 = 6  # rotate the stored picture by 90° clockwise

# Largest difference of a gray pixel, of 255, at full resolution. Measured in Chromium 156 and
# Firefox 153: 0 and 0 in a JPEG, 0 and 1 in a transparent PNG. Other decoders may differ more.
JPEG_TOLERANCE = 4  # rounding in the cosine transform
ALPHA_TOLERANCE = 2  # rounding when colours are multiplied by alpha


def make_reference_pictures() -> str:
    """Return the pictures and their expected pixels as JSON.

    Returns:
        An object with `side`, and `pictures`: a list of objects with the name of the `kind`, the
        `tolerance` in steps of 255, the encoded file as `data`, and the `pixels` of
        `read_face(data, side)`, uint8 (side, side). Both are base64.
    """
    drawn = draw_probe()
    side = min(drawn.shape[:2])  # the central square at full resolution, without resizing
    image = Image.fromarray(drawn)
    pictures = [
        ("a PNG", MAX_PIXEL_DIFFERENCE, _encode_png(image)),
        ("a rotated JPEG", JPEG_TOLERANCE, _encode_rotated_jpeg(image)),
        ("a transparent PNG", ALPHA_TOLERANCE, _encode_transparent_png(image)),
    ]
    values = {
        "side": side,
        "pictures": [
            {
                "kind": kind,
                "tolerance": tolerance,
                "data": _encode_base64(data),
                "pixels": _encode_base64(read_face(data, side).tobytes()),
            }
            for kind, tolerance, data in pictures
        ],
    }
    return json.dumps(values)


def _encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _encode_rotated_jpeg(image: Image.Image) -> bytes:
    """Encode as JPEG, with the orientation in Exif.

    The colours are muted. For strong colours, Python uses the luma in the file, while a browser
    first clips them to RGB, so that some pixels would differ by up to 20 of 255.
    """
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _ROTATED_90
    muted = Image.blend(image.convert("L").convert("RGB"), image, 0.25)
    stored = Image.blend(Image.new("RGB", image.size, (128, 128, 128)), muted, 0.75)
    buffer = io.BytesIO()
    stored.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def _encode_transparent_png(image: Image.Image) -> bytes:
    """Encode as PNG, with transparency that increases from left to right."""
    alpha = np.linspace(255, 0, image.width).astype(np.uint8)
    transparent = image.copy()
    transparent.putalpha(Image.fromarray(np.tile(alpha, (image.height, 1))))
    return _encode_png(transparent)


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
