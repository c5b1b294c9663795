"""Labelled faces in memory: the one shape in which data travel through training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces with their labels.

    Attributes:
        pixels: uint8, shape (n, size, size), gray, 0 to 255.
        labels: int64, shape (n,), each an index into the classes.
        names: Where each face came from: a path relative to the data folder, or ``row 17``.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Faces:
        """Return the faces at `indices`, in that order."""
        names = tuple(self.names[i] for i in indices)
        return Faces(self.pixels[indices], self.labels[indices], names)

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Count the faces of each class; int64, shape (classes,)."""
        return np.bincount(self.labels, minlength=classes).astype(np.int64)

    def fingerprints(self) -> list[bytes]:
        """Give each face a digest of its pixels: equal pictures, equal digests."""
        return [hashlib.sha256(face.tobytes()).digest() for face in self.pixels]
