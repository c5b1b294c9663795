"""Cut faces out of pictures in the way that FER2013's faces are cropped."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.faces.detection import Box
from emotion_runtime.pictures.preprocessing import Pixels

# Side of FER2013's square over the geometric mean of the sides of RetinaFace's box: the median of
# 900 training faces (enlarged, with their edges continued). The centres agree within 0.3 % of the
# side.
FRAMING = 1.13


def crop_face(gray: Pixels, box: Box, size: int, framing: float = FRAMING) -> Pixels:
    """Cut the square around a face, and resize it as the training faces are resized.

    Args:
        gray: uint8, shape (height, width).
        box: Bounding box of the face, in pixels of `gray`.
        size: Side of the result in pixels.
        framing: Side of the square over the geometric mean of the box's sides.

    Returns:
        uint8, shape (size, size). Beyond the edges of the picture, the edge pixels are repeated.
    """
    side, left, top = _compute_square(box, framing)
    rows = np.arange(math.floor(top), math.ceil(top + side)).clip(0, gray.shape[0] - 1)
    columns = np.arange(math.floor(left), math.ceil(left + side)).clip(0, gray.shape[1] - 1)
    whole_pixels: NDArray[np.uint8] = gray[np.ix_(rows, columns)]
    x, y = left - math.floor(left), top - math.floor(top)
    # Bounded: the last digit of a floating-point sum may lie beyond the last pixel.
    right, bottom = min(x + side, len(columns)), min(y + side, len(rows))
    face = Image.fromarray(whole_pixels).resize(
        (size, size), Image.Resampling.BILINEAR, box=(x, y, right, bottom)
    )
    return np.array(face)


def crop_rgb_face(image: Image.Image, box: Box, size: int, framing: float) -> Pixels:
    """Crop a face of an RGB picture as `crop_face` does; only the pixels around it become gray."""
    side, left, top = _compute_square(box, framing)
    # All pixels that `crop_face` reads, and at least one.
    x = min(max(0, math.floor(left) - 1), image.width - 1)
    y = min(max(0, math.floor(top) - 1), image.height - 1)
    right = min(max(x + 1, math.ceil(left + side) + 1), image.width)
    lower = min(max(y + 1, math.ceil(top + side) + 1), image.height)
    gray = np.asarray(image.crop((x, y, right, lower)).convert("L"))
    return crop_face(gray, Box(box.x - x, box.y - y, box.width, box.height), size, framing)


def _compute_square(box: Box, framing: float) -> tuple[float, float, float]:
    """Return side, left and top of the square around a box, in pixels."""
    side = max(1.0, framing * math.sqrt(box.width * box.height))
    return side, box.x + (box.width - side) / 2, box.y + (box.height - side) / 2
