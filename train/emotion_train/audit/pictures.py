"""The pictures of an audit: those of all splits, in one list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.source import Source


@dataclass(frozen=True, eq=False)
class AuditedPictures:
    """All pictures of the data, of every split.

    Attributes:
        classes: Class names in label order.
        faces: The pictures as the network sees them, n of them.
        splits: The split of each picture, n names.
        files: The file of each picture; None for the rows of a CSV with pixels.
        unreadable: One sentence per picture that could not be read.
        are_crops_of_photographs: Whether the detector has found the face of each picture.
    """

    classes: tuple[str, ...]
    faces: Faces
    splits: tuple[str, ...]
    files: tuple[Path | None, ...]
    unreadable: tuple[str, ...] = ()
    are_crops_of_photographs: bool = False

    def __len__(self) -> int:
        return len(self.faces)

    def is_in(self, *splits: str) -> NDArray[np.bool_]:
        """Return which pictures are in some splits, bool (n,)."""
        return np.array([one in splits for one in self.splits], np.bool_)


def join_splits(
    data: Path, source: Source | Dataset, splits: Mapping[str, Faces], *, are_crops: bool
) -> AuditedPictures:
    """Return the pictures of several splits in one list.

    Args:
        data: The data folder or CSV.
        source: What was read from there.
        splits: The faces of each split.
        are_crops: The faces are crops that the detector found in photographs.
    """
    parts = [faces for faces in splits.values() if len(faces)]
    names = tuple(name for faces in parts for name in faces.names)
    folder = data if data.is_dir() else data.parent
    return AuditedPictures(
        classes=source.classes,
        faces=Faces(
            np.concatenate([faces.pixels for faces in parts]),
            np.concatenate([faces.labels for faces in parts]),
            names,
        ),
        splits=tuple(split for split, faces in splits.items() for _ in range(len(faces))),
        files=tuple(_find_file(folder, name) for name in names),
        unreadable=tuple(source.skipped),
        are_crops_of_photographs=are_crops,
    )


def _find_file(folder: Path, name: str) -> Path | None:
    """Return the file of a picture; None where its name is that of a row."""
    path = folder / name
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None
