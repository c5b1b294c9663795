"""Class balance: oversampling of rare classes; augmentation makes each copy different."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.recipe import BALANCES, FULL, NO_BALANCE, SQRT


@dataclass(frozen=True, eq=False)
class ClassBalance:
    """Class sizes before and after oversampling.

    Attributes:
        labels: int64, shape (n,), the class under which each training face counts.
        original: int64, shape (classes,), faces of each class.
        copies: int64, shape (classes,), copies of each class added in an epoch.
    """

    labels: NDArray[np.int64]
    original: NDArray[np.int64]
    copies: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """Return the faces of each class in one epoch, int64, shape (classes,)."""
        return self.original + self.copies


def compute_balance(
    train: Faces, classes: int, balance: str = FULL, targets: NDArray[np.float32] | None = None
) -> ClassBalance:
    """Return how many copies each class gets in an epoch.

    Args:
        train: The training faces, n of them.
        classes: Number of classes.
        balance: ``full``: every class becomes as large as the largest; ``sqrt``: it becomes the
            geometric mean of its own size and the largest; ``none``: no copies.
        targets: Soft labels, float32, shape (n, classes): each face counts for the class with the
            largest share, and on a tie for its label. None to count by label.

    Returns:
        The class sizes. A class without faces gets no copies.

    Raises:
        ValueError: `balance` is unknown.
    """
    labels = train.labels if targets is None else find_main_classes(targets, train.labels)
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
    return ClassBalance(labels, original, np.where(original > 0, wanted - original, 0))


def find_main_classes(targets: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class with the largest share of each target, and on a tie the label.

    Args:
        targets: float32, shape (n, classes).
        labels: int64, shape (n,).
    """
    of_label = targets[np.arange(len(labels)), labels]
    largest = targets.argmax(axis=1).astype(np.int64)
    return np.where(of_label >= targets.max(axis=1), labels, largest)


def draw_copies(table: ClassBalance, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the faces to copy in one epoch, int64 indices into the training faces.

    No face of a class is copies again before all others have been copies.
    """
    copies = [np.empty(0, np.int64)]
    for label, wanted in enumerate(table.copies):
        members = np.flatnonzero(table.labels == label)
        while wanted > 0:
            copies.append(rng.permutation(members)[:wanted])
            wanted -= len(copies[-1])
    return np.concatenate(copies)
