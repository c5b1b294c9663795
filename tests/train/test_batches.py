from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_train.augmentation import AUGMENTATIONS, build_augmentation
from emotion_train.batches import EpochBatches, build_loader
from emotion_train.dataset import load_dataset
from emotion_train.faces import Faces
from emotion_train.targets import label_targets
from synthetic import band_face


@pytest.fixture(scope="module")
def faces(data_folder: Path) -> Faces:
    return load_dataset(data_folder).train


def epoch(faces: Faces, workers: int, number: int = 0, **options: int) -> list[torch.Tensor]:
    batches = EpochBatches(faces, 3, 16, 5, **options)
    batches.set_epoch(number)
    targets = label_targets(faces, 3)
    loader = build_loader(faces, targets, "strong", batches, workers, pin_memory=False)
    return [pixels for pixels, _, _ in loader]


def test_an_epoch_is_balanced_and_holds_every_original(faces: Faces) -> None:
    batches = list(EpochBatches(faces, 3, 16, 5))
    indices = np.concatenate([b.indices for b in batches])
    copies = np.concatenate([b.copies for b in batches])
    assert np.bincount(faces.labels[indices]).tolist() == [24, 24, 24]
    assert sorted(indices[~copies]) == list(range(len(faces)))


def test_pictures_do_not_depend_on_the_number_of_workers(faces: Faces) -> None:
    for alone, helped in zip(epoch(faces, 0), epoch(faces, 2), strict=True):
        assert torch.equal(alone, helped)


def test_every_epoch_brings_other_pictures(faces: Faces) -> None:
    assert not torch.equal(epoch(faces, 0, 0)[0], epoch(faces, 0, 1)[0])


def test_processes_share_a_batch_without_overlap(faces: Faces) -> None:
    whole = list(EpochBatches(faces, 3, 16, 5))
    shares = [list(EpochBatches(faces, 3, 16, 5, rank=r, world_size=2)) for r in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(batch.indices) == sorted([*first.indices, *second.indices])
        assert first.total == second.total == len(batch.indices)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_keeps_shape_and_type(name: str) -> None:
    faces = torch.from_numpy(np.stack([band_face(1), band_face(2)])).unsqueeze(1)
    augment = build_augmentation(name)
    torch.manual_seed(0)
    for _ in range(20):
        changed = augment(faces)
        assert changed.shape == faces.shape
        assert changed.dtype == torch.uint8
    assert torch.equal(changed, faces) == (name == "none")


def test_without_augmentation_copies_alone_are_changed(faces: Faces) -> None:
    batches = EpochBatches(faces, 3, 16, 5)
    loader = build_loader(faces, label_targets(faces, 3), "none", batches, 0, pin_memory=False)
    for batch, (pixels, _, _) in zip(batches, loader, strict=True):
        originals = torch.from_numpy(faces.pixels[batch.indices])
        same = (pixels[:, 0] == originals).all(dim=(1, 2))
        assert same[~batch.copies].all()
        assert not same[batch.copies].any()


def test_faces_of_a_group_share_a_draw(faces: Faces) -> None:
    one = Faces(np.repeat(faces.pixels[:1], 12, axis=0), np.arange(12) % 3, ("",) * 12)
    batches = EpochBatches(one, 3, 12, 0)
    targets = label_targets(one, 3)
    for group, different in ((1, 12), (4, 3)):
        loader = build_loader(one, targets, "strong", batches, 0, group=group, pin_memory=False)
        ((pixels, _, _),) = loader
        assert len(torch.unique(pixels, dim=0)) == different
