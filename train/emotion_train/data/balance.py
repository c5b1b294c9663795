"""Balance: every class as large as the largest, by copies that augmentation makes different."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces


@dataclass(frozen=True)
class BalanceTable:
    """The classes before and after balance; each int64, shape (classes,)."""

    original: NDArray[np.int64]
    augmented: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """Faces of each class in one epoch."""
        return self.original + self.augmented


def balance_table(train: Faces, classes: int) -> BalanceTable:
    """Say how many copies each class needs to be as large as the largest."""
    original = train.counts(classes)
    return BalanceTable(original, original.max() - original)


def draw_copies(
    labels: NDArray[np.int64], table: BalanceTable, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw which faces are copied in one epoch; int64 indices, minority classes only.

    A class is gone through whole before any of its faces is drawn again.
    """
    drawn = [np.empty(0, np.int64)]
    for label, wanted in enumerate(table.augmented):
        members = np.flatnonzero(labels == label)
        while wanted > 0:
            drawn.append(rng.permutation(members)[:wanted])
            wanted -= len(drawn[-1])
    return np.concatenate(drawn)
