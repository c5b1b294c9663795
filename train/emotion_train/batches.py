"""Batches of one epoch: balanced, shuffled, augmented, and the same on every run of a seed.

Each batch carries a seed of its own, drawn from (seed, epoch, batch, rank). The pictures are thus
the same with any number of loader workers, and an epoch can be gone through again after a kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from emotion_train.augmentation import (
    Augmentation,
    build_augmentation,
    build_copy_augmentation,
)
from emotion_train.balance import balance_table, draw_copies
from emotion_train.errors import RunError
from emotion_train.faces import Faces
from emotion_train.targets import Targets


@dataclass(frozen=True)
class Batch:
    """What one process trains on in one step.

    Attributes:
        seed: Seeds the augmentation of this batch.
        indices: Faces of this process's share, int64.
        copies: True where the face is a balancing copy.
        total: Faces of the whole batch, over all processes.
    """

    seed: int
    indices: NDArray[np.int64]
    copies: NDArray[np.bool_]
    total: int


class EpochBatches(Sampler[Batch]):
    """The batches of the epoch last set with `set_epoch`, for one of `world_size` processes."""

    def __init__(
        self,
        faces: Faces,
        classes: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._labels = faces.labels
        self._table = balance_table(faces, classes)
        self._seed, self._epoch = seed, 0
        self._rank, self._world_size = rank, world_size
        self.faces_per_epoch = int(self._table.total.sum())
        # Sizes are evened out (64, 65, 64, …): a last batch of three would be a step of noise.
        self._count = max(1, self.faces_per_epoch // batch_size)
        if self.faces_per_epoch // self._count < world_size:
            raise RunError(
                f"batches of {batch_size} faces are too small for {world_size} processes."
            )

    def __len__(self) -> int:
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng([self._seed, self._epoch])
        copies = draw_copies(self._labels, self._table, rng)
        originals = len(self._labels)
        indices = np.concatenate([np.arange(originals), copies])
        order = rng.permutation(len(indices))
        for number, whole in enumerate(np.array_split(order, self._count)):
            share = whole[self._rank :: self._world_size]
            state = np.random.SeedSequence([self._seed, self._epoch, number, self._rank])
            seed = int(state.generate_state(1, np.uint64)[0] >> 1)
            yield Batch(seed, indices[share], share >= originals, len(whole))


class AugmentedFaces(Dataset[tuple[Tensor, Tensor, int]]):
    """Gives a whole `Batch`: pixels uint8 (n, 1, size, size), targets (n, classes), total."""

    def __init__(self, faces: Faces, targets: Targets, augmentation: str, group: int) -> None:
        self._pixels = torch.from_numpy(faces.pixels).unsqueeze(1)
        self._targets = torch.from_numpy(targets)
        self._group = group
        size = self._pixels.shape[-1]
        self._augment = None if augmentation == "none" else build_augmentation(augmentation, size)
        self._augment_copy = build_copy_augmentation(augmentation, size)

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor, int]:
        indices = torch.from_numpy(batch.indices)
        pixels = self._pixels[indices]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch.seed)
            if self._augment is not None:
                pixels = self._in_groups(self._augment, pixels)
            elif batch.copies.any():  # the originals stay as they are
                copies = torch.from_numpy(batch.copies)
                pixels[copies] = self._in_groups(self._augment_copy, pixels[copies])
        return pixels, self._targets[indices], batch.total

    def _in_groups(self, augment: Augmentation, pixels: Tensor) -> Tensor:
        """Draw once for each group: torchvision's calls cost more than what they compute."""
        return torch.cat([augment(part) for part in torch.split(pixels, self._group)])


def build_loader(
    faces: Faces,
    targets: Targets,
    augmentation: str,
    batches: EpochBatches,
    workers: int,
    *,
    group: int = 1,
    pin_memory: bool,
) -> DataLoader[tuple[Tensor, Tensor, int]]:
    """Build the loader.

    Args:
        faces: What is trained on.
        targets: Float32, shape (n, classes).
        augmentation: A name in `emotion_train.augmentation.AUGMENTATIONS`.
        batches: The sampler.
        workers: Processes that augment; 0 augments in the training process itself.
        group: Faces that share one draw of the augmentation.
        pin_memory: For copies to a GPU.
    """
    return DataLoader(
        AugmentedFaces(faces, targets, augmentation, group),
        sampler=batches,
        batch_size=None,  # the sampler's items are whole batches
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
    )
