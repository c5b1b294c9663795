"""Augmentation on the fly: torchvision's v2 transforms on uint8 faces of shape (n, 1, size, size).

The strengths are plain numbers, so that ``--help`` can list them; torchvision is imported when
one is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Augmentation: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class Strength:
    """How far each transform may go; a flip is always among them.

    Attributes:
        degrees: Largest turn either way.
        shift: Largest shift either way, as part of the face's side.
        scale: Smallest and largest scale.
        shear: Largest shear either way, in degrees.
        light: Largest change of brightness and of contrast, as a factor around 1.
        blur: Probability of a Gaussian blur of up to one pixel.
        erasing: Probability that a rectangle is painted over.
        erased: Smallest and largest part of the face painted over.
        compression: Probability of JPEG compression at quality 20 to 80.
        noise: Probability of Gaussian noise, deviation 0.05 of the range.
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


def build_augmentation(name: str, size: int = 48) -> Augmentation:
    """Build a registered augmentation.

    It takes uint8 of shape (n, 1, size, size), draws once for all of them from torch's global
    generator, and gives the same shape and dtype.
    """
    import torch
    from torchvision.transforms import InterpolationMode, v2

    strength = AUGMENTATIONS[name]
    if strength is None:
        return v2.Identity()  # type: ignore[no-any-return]
    # Room around the face: a turned or shifted one is completed by its mirror, not by black.
    margin = size // 4
    shift = strength.shift * size / (size + 2 * margin)
    steps: list[Any] = [
        v2.RandomHorizontalFlip(),
        v2.Pad(margin, padding_mode="reflect"),
        v2.RandomAffine(
            strength.degrees,
            translate=(shift, shift),
            scale=strength.scale,
            shear=strength.shear,
            interpolation=InterpolationMode.BILINEAR,
        ),
        v2.CenterCrop(size),
        v2.ColorJitter(strength.light, strength.light),
    ]
    if strength.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.0))], strength.blur))
    if strength.compression:
        steps.append(v2.RandomApply([v2.Lambda(_compressed)], strength.compression))
    if strength.noise:
        noise = [v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise(sigma=0.05)]
        steps.append(v2.RandomApply([*noise, v2.ToDtype(torch.uint8, scale=True)], strength.noise))
    if strength.erasing:
        steps.append(v2.RandomErasing(strength.erasing, scale=strength.erased, value=127))
    return v2.Compose(steps)  # type: ignore[no-any-return]


def build_copy_augmentation(name: str, size: int = 48) -> Augmentation:
    """Build what makes a balancing copy differ from its original, also where `name` is none."""
    return build_augmentation("light" if name == "none" else name, size)


def _compressed(pixels: Tensor) -> Tensor:
    """Compress as JPEG at a quality of 20 to 80; torchvision's own way of it is deprecated."""
    import io

    import numpy as np
    import torch
    from PIL import Image

    quality = int(torch.randint(20, 81, ()))
    compressed = torch.empty_like(pixels)
    for face, target in zip(pixels, compressed, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(face[0].numpy()).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            target[0] = torch.from_numpy(np.array(image))
    return compressed
