"""Labelled faces in memory, the form in which training uses all data."""

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
        names: Source of each face: a path relative to the data folder, or ``row 17``.
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

    def count_by_class(self, classes: int) -> NDArray[np.int64]:
        """Return the number of faces of each class, int64, shape (classes,)."""
        return np.bincount(self.labels, minlength=classes).astype(np.int64)

    def hash_pixels(self) -> list[bytes]:
        """Return a SHA-256 digest of the pixels of each face."""
        return [hashlib.sha256(face.tobytes()).digest() for face in self.pixels]
