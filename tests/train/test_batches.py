from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_train.data.dataset import load_dataset
from emotion_train.data.faces import Faces
from emotion_train.training.batches import AugmentedBatches, EpochBatches
from emotion_train.training.targets import make_label_targets

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(data_folder: Path) -> Faces:
    return load_dataset(data_folder, validation_per_class=46).train


def epoch(faces: Faces, name: str = "strong", number: int = 0) -> list[torch.Tensor]:
    batches = EpochBatches(faces, 3, 16, 5)
    batches.set_epoch(number)
    augmented = AugmentedBatches(faces, make_label_targets(faces, 3), name, batches, CPU)
    return [batch.pixels for batch in augmented]


def test_an_epoch_is_balanced_and_contains_every_original(faces: Faces) -> None:
    batches = list(EpochBatches(faces, 3, 16, 5))
    indices = np.concatenate([b.indices for b in batches])
    copies = np.concatenate([b.copies for b in batches])
    assert np.bincount(faces.labels[indices]).tolist() == [24, 24, 24]
    assert sorted(indices[~copies]) == list(range(len(faces)))


def test_an_epoch_can_be_repeated(faces: Faces) -> None:
    for first, again in zip(epoch(faces), epoch(faces), strict=True):
        assert torch.equal(first, again)


def test_every_epoch_has_other_copies(faces: Faces) -> None:
    assert not torch.equal(epoch(faces)[0], epoch(faces, number=1)[0])


def test_processes_share_a_batch_without_overlap(faces: Faces) -> None:
    whole = list(EpochBatches(faces, 3, 16, 5))
    shares = [list(EpochBatches(faces, 3, 16, 5, rank=r, world_size=2)) for r in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(batch.indices) == sorted([*first.indices, *second.indices])
        assert first.total == second.total == len(batch.indices)


def test_without_augmentation_only_copies_are_changed(faces: Faces) -> None:
    for batch, pixels in zip(EpochBatches(faces, 3, 16, 5), epoch(faces, "none"), strict=True):
        originals = torch.from_numpy(faces.pixels[batch.indices])
        same = (pixels[:, 0] == originals).all(dim=(1, 2))
        assert same[~batch.copies].all()
        assert not same[batch.copies].any()
