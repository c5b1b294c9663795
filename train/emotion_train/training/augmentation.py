"""Augmentation of a batch of faces, on the CPU or a GPU, with random numbers for each face.

Tensor operations transform the whole batch, which is ten times as fast as one face at a time. All
random numbers come from a generator on the CPU, so that a seed gives the same ones on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch import device as torch_device


@dataclass(frozen=True)
class Strength:
    """The limits of each transform; half of the faces are also mirrored.

    Attributes:
        degrees: Maximum rotation in both directions.
        shift: Maximum shift in both directions, as a fraction of the face's side.
        scale: Minimum and maximum scale.
        shear: Maximum shear in both directions, in degrees.
        light: Maximum change of the factors of brightness and contrast from 1.
        blur: Probability of a Gaussian blur of up to one pixel.
        erasing: Probability that a rectangle is painted gray.
        erased: Minimum and maximum fraction of the face that is painted.
        compression: Probability of JPEG compression at quality 20 to 80.
        noise: Probability of Gaussian noise, standard deviation 0.05 of the range.
    """

    degrees: float
    shift: float
    scale: tuple[float, float]
    shear: float
    light: float
    blur: float = 0.0
    erasing: float = 0.0
    erased: tuple[float, float] = (0.02, 0.2)
    compression: float = 0.0
    noise: float = 0.0


AUGMENTATIONS: dict[str, Strength | None] = {
    "none": None,
    "light": Strength(8, 0.05, (0.95, 1.05), 0, 0.15),
    "standard": Strength(12, 0.08, (0.88, 1.15), 4, 0.3, erasing=0.25, erased=(0.02, 0.12)),
    "strong": Strength(20, 0.12, (0.8, 1.25), 8, 0.5, blur=0.2, erasing=0.5),
    "web": Strength(
        25, 0.14, (0.7, 1.3), 10, 0.6, blur=0.3, erasing=0.4, compression=0.3, noise=0.2
    ),
}

# For balancing copies in runs without augmentation, so that they differ from their original.
COPY_STRENGTH = Strength(8, 0.05, (0.95, 1.05), 0, 0.15)

_BLUR_SIGMA_PIXELS = (0.1, 1.0)
_ERASED_ASPECT = (0.3, 3.3)
_ERASED_GRAY = 127.0
_JPEG_QUALITY = (20, 80)
_NOISE_DEVIATION = 0.05 * 255

# Luminance quantisation of ITU-T T.81, table K.1.
_JPEG_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def augment(pixels: Tensor, strength: Strength, generator: Generator) -> Tensor:
    """Return an augmented copy of each face.

    Args:
        pixels: uint8, shape (n, 1, size, size), on any device.
        strength: Limits of the transforms.
        generator: Source of all random numbers, on the CPU.

    Returns:
        uint8, shape and device as `pixels`.
    """
    import torch

    random = _RandomNumbers(len(pixels), generator, pixels.device)
    faces = _change_light(_transform(pixels.float(), strength, random), strength.light, random)
    for probability, change in (
        (strength.blur, _blur),
        (strength.compression, _compress),
        (strength.noise, _add_noise),
        (strength.erasing, partial(_erase, share=strength.erased)),
    ):
        if probability:
            chosen = random.choose(probability)
            faces[chosen] = change(faces[chosen], random.for_count(len(chosen)))
    return faces.round_().clamp_(0, 255).to(torch.uint8)


class _RandomNumbers:
    """Random numbers for `count` faces, drawn on the CPU and moved to the device of the faces."""

    def __init__(self, count: int, generator: Generator, device: torch_device) -> None:
        self._count, self._generator, self._device = count, generator, device

    def for_count(self, count: int) -> _RandomNumbers:
        """Return random numbers from the same generator for another number of faces."""
        return _RandomNumbers(count, self._generator, self._device)

    def uniform(self, low: float, high: float) -> Tensor:
        """Return uniform numbers, float32 (n,)."""
        import torch

        drawn = torch.rand(self._count, generator=self._generator)
        return (low + (high - low) * drawn).to(self._device)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Return standard normal numbers, float32 (n, *shape)."""
        import torch

        drawn = torch.randn((self._count, *shape), generator=self._generator)
        return drawn.to(self._device)

    def choose(self, probability: float) -> Tensor:
        """Return indices of faces, int64, each chosen with `probability`."""
        import torch

        drawn = torch.rand(self._count, generator=self._generator)
        return torch.nonzero(drawn < probability)[:, 0].to(self._device)


def _transform(faces: Tensor, strength: Strength, random: _RandomNumbers) -> Tensor:
    """Mirror, rotate, shear, scale and shift faces; reflect them at their edges."""
    import torch
    from torch.nn import functional

    angle = torch.deg2rad(random.uniform(-strength.degrees, strength.degrees))
    shear = torch.tan(torch.deg2rad(random.uniform(-strength.shear, strength.shear)))
    scale = random.uniform(*strength.scale)
    mirror = torch.where(random.uniform(0, 1) < 0.5, -1.0, 1.0)
    # In the coordinates of `affine_grid` a side has length 2. The matrix maps output to input
    # coordinates, so it is the inverse of the transform of the face.
    x, y = (2 * random.uniform(-strength.shift, strength.shift) for _ in range(2))
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [
        torch.stack([mirror * (cosine + shear * sine), mirror * (sine - shear * cosine), x], dim=1),
        torch.stack([-sine, cosine, y], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(faces.shape), align_corners=False)
    return functional.grid_sample(
        faces, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _change_light(faces: Tensor, max_change: float, random: _RandomNumbers) -> Tensor:
    """Scale brightness around black, then contrast around the mean."""
    brightness, contrast = (
        random.uniform(max(0.0, 1 - max_change), 1 + max_change)[:, None, None, None]
        for _ in range(2)
    )
    faces.mul_(brightness).clamp_(0, 255)
    mean = faces.mean(dim=(1, 2, 3), keepdim=True)
    return faces.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 255)


def _blur(faces: Tensor, random: _RandomNumbers) -> Tensor:
    """Blur faces with a Gaussian kernel of 3×3 pixels."""
    import torch
    from torch.nn import functional

    sigma = random.uniform(*_BLUR_SIGMA_PIXELS)
    side = torch.exp(-0.5 / sigma**2)
    side = (side / (1 + 2 * side))[:, None, None, None]
    around = functional.pad(faces, (1, 1, 1, 1), mode="reflect")
    rows = side * (around[:, :, :-2] + around[:, :, 2:]) + (1 - 2 * side) * around[:, :, 1:-1]
    return side * (rows[..., :-2] + rows[..., 2:]) + (1 - 2 * side) * rows[..., 1:-1]


def _compress(faces: Tensor, random: _RandomNumbers) -> Tensor:
    return compress(faces, random.uniform(*_JPEG_QUALITY).round())


def compress(faces: Tensor, quality: Tensor) -> Tensor:
    """Return faces with the artefacts of JPEG compression (ITU-T T.81).

    Args:
        faces: float32, shape (n, 1, height, width), 0 to 255.
        quality: float32, shape (n,), 1 to 100, as in libjpeg.

    Returns:
        float32, shape as `faces`; on average within 0.4 gray levels of libjpeg.
    """
    import torch
    from torch.nn import functional

    count, _, height, width = faces.shape
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    table = torch.tensor(_JPEG_TABLE, dtype=torch.float32, device=faces.device)
    steps = ((table * percent + 50) / 100).floor().clamp(1, 255)[:, None, None]
    waves = torch.tensor(_make_cosine_matrix(), dtype=torch.float32, device=faces.device)
    # Pad the edges to whole blocks of 8×8 pixels.
    padded = functional.pad(faces - 128, (0, -width % 8, 0, -height % 8), mode="replicate")
    down, across = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(count, down, 8, across, 8).transpose(2, 3)
    frequencies = waves @ blocks @ waves.T
    blocks = waves.T @ ((frequencies / steps).round() * steps) @ waves
    whole = blocks.transpose(2, 3).reshape(padded.shape)
    return (whole[:, :, :height, :width] + 128).clamp_(0, 255)


def _make_cosine_matrix() -> list[list[float]]:
    """Return the orthonormal matrix of the discrete cosine transform of eight numbers."""
    return [
        [
            (math.sqrt(1 / 8) if wave == 0 else 0.5) * math.cos((2 * at + 1) * wave * math.pi / 16)
            for at in range(8)
        ]
        for wave in range(8)
    ]


def _add_noise(faces: Tensor, random: _RandomNumbers) -> Tensor:
    return faces + _NOISE_DEVIATION * random.normal(tuple(faces.shape[1:]))


def _erase(faces: Tensor, random: _RandomNumbers, *, share: tuple[float, float]) -> Tensor:
    """Paint a gray rectangle (Zhong et al., "Random Erasing Data Augmentation", 2020)."""
    import torch

    size = faces.shape[-1]
    area = random.uniform(*share) * size * size
    aspect = torch.exp(random.uniform(*(math.log(value) for value in _ERASED_ASPECT)))
    height, width = (area * aspect).sqrt().clamp(1, size), (area / aspect).sqrt().clamp(1, size)
    top, left = random.uniform(0, 1) * (size - height), random.uniform(0, 1) * (size - width)
    centres = torch.arange(size, device=faces.device) + 0.5

    def is_covered(start: Tensor, length: Tensor) -> Tensor:
        return (centres >= start[:, None]) & (centres < (start + length)[:, None])

    inside = is_covered(top, height)[:, None, :, None] & is_covered(left, width)[:, None, None, :]
    return faces.masked_fill(inside, _ERASED_GRAY)
