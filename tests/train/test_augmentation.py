"""Augmentation of a batch: the effect of each transform, and a draw for each face."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from emotion_train.training.augmentation import AUGMENTATIONS, Strength, augment, compress
from synthetic import band_face

STILL = Strength(degrees=0, shift=0, scale=(1, 1), shear=0, light=0)
STRENGTHS = {name: strength for name, strength in AUGMENTATIONS.items() if strength is not None}


def faces(count: int = 64, size: int = 48) -> torch.Tensor:
    """Return copies of one face, so that differences come only from the draws."""
    return torch.from_numpy(band_face(1, size=size))[None, None].repeat(count, 1, 1, 1)


def augment_seeded(strength: Strength, pixels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augment(pixels, strength, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("size", [48, 61])
def test_shape_and_type_stay(name: str, size: int) -> None:
    pixels = faces(5, size)
    changed = augment_seeded(STRENGTHS[name], pixels)
    assert changed.shape == pixels.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(pixels, faces(5, size)), "the given faces do not change"


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_face_has_its_own_draw(name: str) -> None:
    assert len(torch.unique(augment_seeded(STRENGTHS[name], faces()), dim=0)) == 64


def test_a_seed_repeats_its_draws_and_another_does_not() -> None:
    first, again, other = (augment_seeded(STRENGTHS["web"], faces(), seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_transforms_half_of_the_faces_are_mirrored() -> None:
    changed = augment_seeded(STILL, faces(400)).float()
    face = faces(1).float()
    same = ((changed - face).abs() <= 1).all(dim=(1, 2, 3))
    mirrored = ((changed - face.flip(3)).abs() <= 1).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < same.sum() < 250


@pytest.mark.parametrize(
    "change",
    [
        {"degrees": 30},
        {"shift": 0.2},
        {"scale": (0.7, 0.8)},
        {"shear": 15},
        {"light": 0.5},
        {"blur": 1.0},
        {"erasing": 1.0},
        {"compression": 1.0},
        {"noise": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_transform_changes_faces(change: dict[str, object]) -> None:
    changed, still = (augment_seeded(one, faces()) for one in (replace(STILL, **change), STILL))
    difference = (changed.float() - still.float()).abs().mean(dim=(1, 2, 3))
    assert difference.median() > 0.3


def test_a_rotation_equals_that_of_pillow() -> None:
    """Rotate the original with Pillow to find the angle of the augmented face."""
    # Off the centre in both directions, so that a shear or a wrong sign gives another picture.
    face = np.zeros((48, 48), np.uint8)
    face[10:16, 12:34], face[16:40, 12:17] = 220, 160
    pixels = torch.from_numpy(face)[None, None].repeat(16, 1, 1, 1)
    turned = augment_seeded(replace(STILL, degrees=20), pixels)[:, 0].numpy().astype(float)

    def gap(one: np.ndarray, angle: float, mirrored: bool) -> float:
        image = Image.fromarray(face[:, ::-1] if mirrored else face)
        again = np.asarray(image.rotate(angle, Image.Resampling.BILINEAR), float)
        return float(np.abs(again - one)[8:40, 8:40].mean())

    found = [
        min((gap(one, angle, side), angle) for angle in range(-21, 22) for side in (False, True))
        for one in turned
    ]
    assert max(error for error, _ in found) < 3
    assert len({angle for _, angle in found}) > 8


def test_a_shift_moves_by_its_part_of_the_side() -> None:
    face = torch.zeros(200, 1, 48, 48, dtype=torch.uint8)
    face[:, :, 22:26, 22:26] = 255
    moved = augment_seeded(replace(STILL, shift=0.25), face).float()
    place = torch.arange(48.0) + 0.5
    mass = moved.sum(dim=(1, 2, 3))
    across = (moved.sum(dim=(1, 2)) * place).sum(dim=1) / mass - 24
    assert across.abs().max() <= 12.1
    assert across.abs().max() > 10


def test_erased_rectangles_have_the_chosen_area() -> None:
    white = torch.full((300, 1, 48, 48), 255, dtype=torch.uint8)
    strength = replace(STILL, erasing=1.0, erased=(0.05, 0.1))
    share = (augment_seeded(strength, white) == 127).float().mean(dim=(1, 2, 3))
    assert 0.03 < share.min() < share.max() < 0.12


@pytest.mark.parametrize("quality", [20, 50, 80])
@pytest.mark.parametrize("size", [48, 61])
def test_compression_equals_that_of_libjpeg(quality: int, size: int) -> None:
    face = np.array(Image.fromarray(band_face(0, size=12)).resize((size, size)))
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer), float)
    ours = compress(torch.from_numpy(face).float()[None, None], torch.tensor([float(quality)]))
    difference = np.abs(ours[0, 0].numpy() - decoded).mean()
    assert difference < 0.2 * np.abs(decoded - face).mean() + 0.3
