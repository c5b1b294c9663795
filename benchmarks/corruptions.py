"""Corruptions of a face at five strengths, as in ImageNet-C (Hendrycks & Dietterich, 2019).

Each function takes a face, uint8 (48, 48), a strength from 1 to 5 and a random generator, and
returns a face of the same shape and dtype.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

STRENGTHS = (1, 2, 3, 4, 5)

Face = np.ndarray


def blur(face: Face, strength: int, _: np.random.Generator) -> Face:
    """Blur by a Gaussian of 0.5 to 2.5 pixels."""
    return np.array(Image.fromarray(face).filter(ImageFilter.GaussianBlur(0.5 * strength)))


def noise(face: Face, strength: int, rng: np.random.Generator) -> Face:
    """Add Gaussian noise of 6 to 30 of 255."""
    return _to_uint8(face + rng.normal(0, 6 * strength, face.shape))


def dark(face: Face, strength: int, _: np.random.Generator) -> Face:
    """Reduce the brightness to 70 % to 10 %."""
    return _to_uint8(face * (0.85 - 0.15 * strength))


def compression(face: Face, strength: int, _: np.random.Generator) -> Face:
    """Compress as JPEG at quality 40 to 5."""
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=(40, 25, 15, 10, 5)[strength - 1])
    return np.array(Image.open(buffer))


def rotation(face: Face, strength: int, rng: np.random.Generator) -> Face:
    """Rotate by 6 to 30 degrees to either side."""
    return _transform(face, degrees=6 * strength * rng.choice((-1, 1)))


def crop(face: Face, strength: int, _: np.random.Generator) -> Face:
    """Cut off 5 % to 25 % of the face at each side."""
    return _transform(face, scale=1 / (1 - 0.1 * strength))


def scale(face: Face, strength: int, _: np.random.Generator) -> Face:
    """Shrink the face to 92 % to 60 %, surrounded by its mirror image."""
    return _transform(face, scale=1 - 0.08 * strength)


def occlusion(face: Face, strength: int, rng: np.random.Generator) -> Face:
    """Cover a square of 8 to 24 pixels with gray."""
    side = 4 + 4 * strength
    top, left = rng.integers(0, 48 - side, 2)
    covered = face.copy()
    covered[top : top + side, left : left + side] = 127
    return covered


CORRUPTIONS: dict[str, Callable[[Face, int, np.random.Generator], Face]] = {
    function.__name__: function
    for function in (blur, noise, dark, compression, rotation, crop, scale, occlusion)
}


def _to_uint8(values: np.ndarray) -> Face:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _transform(face: Face, *, degrees: float = 0.0, scale: float = 1.0) -> Face:
    """Rotate and scale about the centre; beyond the edges is the mirror image of the face."""
    padded = np.pad(face, 24, mode="reflect")
    image = Image.fromarray(padded).rotate(degrees, Image.Resampling.BILINEAR)
    half = 24 / scale
    box = (48 - half, 48 - half, 48 + half, 48 + half)
    return np.array(image.resize((48, 48), Image.Resampling.BILINEAR, box=box))
