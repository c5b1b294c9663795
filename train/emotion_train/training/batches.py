"""Batches of one epoch: balanced, shuffled, augmented, and the same on every run of a seed.

Each batch carries a seed of its own, drawn from (seed, epoch, batch, rank), so that an epoch can be
repeated after a kill, to the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_train.data.balance import ClassBalance, compute_balance, draw_copies
from emotion_train.data.faces import Faces
from emotion_train.errors import RunError
from emotion_train.training.augmentation import AUGMENTATIONS, COPY_STRENGTH, augment
from emotion_train.training.targets import Targets


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


class EpochBatches:
    """The batches of the epoch last set with `set_epoch`, for one of `world_size` processes.

    Args:
        faces: What is trained on.
        classes: Number of classes.
        batch_size: Faces a step, over all processes.
        seed: Draws copies, order and augmentation.
        rank: This process among all.
        world_size: How many processes share a batch.
        table: Which classes get copies; None makes every class as large as the largest.
    """

    def __init__(
        self,
        faces: Faces,
        classes: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        table: ClassBalance | None = None,
    ) -> None:
        self._table = compute_balance(faces, classes) if table is None else table
        self._originals = len(faces)
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
        copies = draw_copies(self._table, rng)
        originals = self._originals
        indices = np.concatenate([np.arange(originals), copies])
        order = rng.permutation(len(indices))
        for number, whole in enumerate(np.array_split(order, self._count)):
            share = whole[self._rank :: self._world_size]
            state = np.random.SeedSequence([self._seed, self._epoch, number, self._rank])
            seed = int(state.generate_state(1, np.uint64)[0] >> 1)
            yield Batch(seed, indices[share], share >= originals, len(whole))


class AugmentedBatches:
    """Gives the batches of an epoch, augmented on the device that trains on them.

    Args:
        faces: What is trained on.
        targets: float32, shape (n, classes).
        augmentation: A name in `emotion_train.training.augmentation.AUGMENTATIONS`.
        batches: Which faces each batch holds.
        device: Where the network runs.
    """

    def __init__(
        self,
        faces: Faces,
        targets: Targets,
        augmentation: str,
        batches: EpochBatches,
        device: torch.device,
    ) -> None:
        self._pixels = torch.from_numpy(faces.pixels).unsqueeze(1)
        self._targets = torch.from_numpy(targets)
        self._strength = AUGMENTATIONS[augmentation]
        self._batches, self._device = batches, device

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Give pixels uint8 (n, 1, size, size), targets (n, classes), faces of the whole batch."""
        for batch in self._batches:
            indices = torch.from_numpy(batch.indices)
            pixels = self._pixels[indices].to(self._device)
            generator = torch.Generator().manual_seed(batch.seed)
            if self._strength is not None:
                pixels = augment(pixels, self._strength, generator)
            elif batch.copies.any():  # originals stay as they are, a copy must differ from them
                copies = torch.from_numpy(batch.copies).to(self._device)
                pixels[copies] = augment(pixels[copies], COPY_STRENGTH, generator)
            yield pixels, self._targets[indices].to(self._device), batch.total
