"""Augmentation on the fly: torchvision's v2 transforms on uint8 faces of shape (1, 48, 48)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

Augmentation = Callable[[Tensor], Tensor]

# Room around the face, so that a turned or shifted one is completed by its mirror, not by black.
_MARGIN = 12


def _none() -> Augmentation:
    return v2.Identity()  # type: ignore[no-any-return]


def _moved(
    degrees: float, shift: float, scale: tuple[float, float], shear: float
) -> list[v2.Transform]:
    """Turn, shift, scale and shear within mirrored margins."""
    padded = 48 + 2 * _MARGIN
    return [
        v2.Pad(_MARGIN, padding_mode="reflect"),
        v2.RandomAffine(
            degrees,
            translate=(shift * 48 / padded, shift * 48 / padded),
            scale=scale,
            shear=shear,
            interpolation=InterpolationMode.BILINEAR,
        ),
        v2.CenterCrop(48),
    ]


def _light() -> Augmentation:
    return v2.Compose(  # type: ignore[no-any-return]
        [v2.RandomHorizontalFlip(), *_moved(8, 0.05, (0.95, 1.05), 0), v2.ColorJitter(0.15, 0.15)]
    )


def _standard() -> Augmentation:
    return v2.Compose(  # type: ignore[no-any-return]
        [
            v2.RandomHorizontalFlip(),
            *_moved(12, 0.08, (0.88, 1.15), 4),
            v2.ColorJitter(0.3, 0.3),
            v2.RandomErasing(0.25, scale=(0.02, 0.12), value=127),
        ]
    )


def _strong() -> Augmentation:
    return v2.Compose(  # type: ignore[no-any-return]
        [
            v2.RandomHorizontalFlip(),
            *_moved(20, 0.12, (0.8, 1.25), 8),
            v2.ColorJitter(0.5, 0.5),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.0))], 0.2),
            v2.RandomErasing(0.5, scale=(0.02, 0.2), value=127),
        ]
    )


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    "none": _none,
    "light": _light,
    "standard": _standard,
    "strong": _strong,
}


def build_augmentation(name: str) -> Augmentation:
    """Build a registered augmentation.

    It takes uint8 of shape (1, 48, 48), draws from torch's global generator, and gives the same
    shape and dtype.
    """
    return AUGMENTATIONS[name]()


def build_copy_augmentation(name: str) -> Augmentation:
    """Build what makes a balancing copy differ from its original, also where `name` is none."""
    return build_augmentation("light" if name == "none" else name)
