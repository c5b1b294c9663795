"""Class balance: rare classes are copied, and augmentation makes each copy different."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.recipe import BALANCES, FULL, NO_BALANCE, SQRT


@dataclass(frozen=True, eq=False)
class BalanceTable:
    """The classes before and after balance.

    Attributes:
        labels: int64, shape (n,): the class under which each training face is counted.
        original: int64, shape (classes,): faces of each class.
        copies: int64, shape (classes,): copies of each class that an epoch adds.
    """

    labels: NDArray[np.int64]
    original: NDArray[np.int64]
    copies: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """Faces of each class in one epoch, int64, shape (classes,)."""
        return self.original + self.copies


def balance_table(
    train: Faces, classes: int, balance: str = FULL, targets: NDArray[np.float32] | None = None
) -> BalanceTable:
    """Return how many copies each class gets in an epoch.

    Args:
        train: The training faces, n of them.
        classes: Number of classes.
        balance: ``full``: every class becomes as large as the largest; ``sqrt``: it becomes the
            geometric mean of its own size and the largest; ``none``: no copies.
        targets: float32, shape (n, classes), where soft labels are taught: a face counts for the
            class that has most of its target, and for its label where that is among the largest.
            None for labels alone.

    Returns:
        The table. A class without faces gets no copies.

    Raises:
        ValueError: `balance` is none of these.
    """
    labels = train.labels if targets is None else main_classes(targets, train.labels)
    original = np.bincount(labels, minlength=classes).astype(np.int64)
    largest = original.max(initial=0)
    if balance == FULL:
        wanted = np.full_like(original, largest)
    elif balance == SQRT:
        wanted = np.rint(np.sqrt(original * largest)).astype(np.int64)
    elif balance == NO_BALANCE:
        wanted = original
    else:
        raise ValueError(f"balance is one of {', '.join(BALANCES)}, not {balance!r}")
    return BalanceTable(labels, original, np.where(original > 0, wanted - original, 0))


def main_classes(targets: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class that has most of each target; where the label has as much, the label.

    Args:
        targets: float32, shape (n, classes).
        labels: int64, shape (n,).
    """
    of_label = targets[np.arange(len(labels)), labels]
    largest = targets.argmax(axis=1).astype(np.int64)
    return np.where(of_label >= targets.max(axis=1), labels, largest)


def draw_copies(table: BalanceTable, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw which faces are copied in one epoch; int64 indices into the training faces.

    A class is gone through whole before any of its faces is drawn again.
    """
    drawn = [np.empty(0, np.int64)]
    for label, wanted in enumerate(table.copies):
        members = np.flatnonzero(table.labels == label)
        while wanted > 0:
            drawn.append(rng.permutation(members)[:wanted])
            wanted -= len(drawn[-1])
    return np.concatenate(drawn)
