"""Batches of an epoch: balanced, shuffled, augmented and reproducible.

Each batch has its own seed, drawn from (seed, epoch, batch, rank), so that a resumed run repeats an
interrupted epoch with the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

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
    """The share of one process in a batch.

    Attributes:
        seed: Seeds the augmentation of this share.
        indices: Indices of the faces of this share, int64.
        copies: Which of these faces are balancing copies.
        total: Faces in the whole batch, over all processes.
    """

    seed: int
    indices: NDArray[np.int64]
    copies: NDArray[np.bool_]
    total: int


class TrainingBatch(NamedTuple):
    """The share of one process in a batch, on the device of the training.

    Attributes:
        pixels: uint8, shape (n, 1, size, size), augmented.
        targets: float32, shape (n, classes).
        total: Faces in the whole batch, over all processes.
        weights: float32, shape (n,), the weight of each face in the loss; None for 1.
    """

    pixels: Tensor
    targets: Tensor
    total: int
    weights: Tensor | None = None


class EpochBatches:
    """The batches of the epoch chosen with `set_epoch`, for one of `world_size` processes.

    Args:
        faces: The training faces.
        classes: Number of classes.
        batch_size: Faces per step, over all processes.
        seed: Seeds copies, order and augmentation.
        rank: Rank of this process.
        world_size: Number of processes that share a batch.
        balance: The class balance; None makes every class as large as the largest.
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
        balance: ClassBalance | None = None,
    ) -> None:
        self._balance = compute_balance(faces, classes) if balance is None else balance
        self._originals = len(faces)
        self._seed, self._epoch = seed, 0
        self._rank, self._world_size = rank, world_size
        self.faces_per_epoch = int(self._balance.total.sum())
        # Batches of equal size, ±1: a small last batch would give a noisy step.
        self._batch_count = max(1, self.faces_per_epoch // batch_size)
        if self.faces_per_epoch // self._batch_count < world_size:
            raise RunError(
                f"batches of {batch_size} faces are too small for {world_size} processes."
            )

    def __len__(self) -> int:
        return self._batch_count

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng([self._seed, self._epoch])
        copies = draw_copies(self._balance, rng)
        originals = self._originals
        indices = np.concatenate([np.arange(originals), copies])
        order = rng.permutation(len(indices))
        for number, whole in enumerate(np.array_split(order, self._batch_count)):
            share = whole[self._rank :: self._world_size]
            state = np.random.SeedSequence([self._seed, self._epoch, number, self._rank])
            seed = int(state.generate_state(1, np.uint64)[0] >> 1)
            yield Batch(seed, indices[share], share >= originals, len(whole))


class AugmentedBatches:
    """The batches of an epoch, augmented on the device of the training.

    Args:
        faces: The training faces.
        targets: float32, shape (n, classes).
        augmentation: A name in `emotion_train.training.augmentation.AUGMENTATIONS`.
        batches: The faces of each batch.
        device: The device of the training.
        weights: float32, shape (n,), the weight of each face in the loss; None for 1.
    """

    def __init__(
        self,
        faces: Faces,
        targets: Targets,
        augmentation: str,
        batches: EpochBatches,
        device: torch.device,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self._pixels = torch.from_numpy(faces.pixels).unsqueeze(1)
        self._targets = torch.from_numpy(targets)
        self._strength = AUGMENTATIONS[augmentation]
        self._batches, self._device = batches, device
        self._weights = None if weights is None else torch.from_numpy(weights)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Yield the share of this process in each batch."""
        for batch in self._batches:
            indices = torch.from_numpy(batch.indices)
            pixels = self._pixels[indices].to(self._device)
            generator = torch.Generator().manual_seed(batch.seed)
            if self._strength is not None:
                pixels = augment(pixels, self._strength, generator)
            elif batch.copies.any():  # only the copies, which must differ from their originals
                copies = torch.from_numpy(batch.copies).to(self._device)
                pixels[copies] = augment(pixels[copies], COPY_STRENGTH, generator)
            weights = None if self._weights is None else self._weights[indices].to(self._device)
            targets = self._targets[indices].to(self._device)
            yield TrainingBatch(pixels, targets, batch.total, weights)
