"""The folds of an audit: each picture is predicted by a network that has not learned from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.prediction import format_count
from emotion_train.audit.pictures import AuditedPictures
from emotion_train.errors import DataError

EVERY_FOLD = -1  # of a picture from which no network learns: the mean of all networks predicts it


def assign_folds(
    pictures: AuditedPictures, groups: NDArray[np.int64], folds: int
) -> NDArray[np.int64]:
    """Return the fold of each picture, stratified by class, with copies of a picture together.

    Training and validation pictures are divided into folds. A test picture is in the fold of its
    copies, else in `EVERY_FOLD`.

    Args:
        pictures: The pictures, n of them.
        groups: The number of the group of copies of each picture, int64 (n,).
        folds: Number of folds.

    Raises:
        DataError: A class has fewer different pictures than folds.
    """
    is_learned = pictures.is_in("train", "validation")
    hashes = pictures.faces.hash_pixels()
    labels = pictures.faces.labels
    first: dict[int, int] = {}  # group → its first picture to learn from
    for index in np.flatnonzero(is_learned):
        first.setdefault(int(groups[index]), int(index))
    different = np.bincount(labels[list(first.values())], minlength=len(pictures.classes))
    _require_enough(pictures.classes, different, folds)
    # By the digest of the pixels, so that the folds do not follow the order of the file names.
    order = sorted(first, key=lambda group: (labels[first[group]], hashes[first[group]]))
    fold = {group: place % folds for place, group in enumerate(order)}
    return np.array([fold.get(int(group), EVERY_FOLD) for group in groups], np.int64)


def _require_enough(classes: Sequence[str], different: NDArray[np.int64], folds: int) -> None:
    """Raise an error for a class that would be missing in a fold.

    Raises:
        DataError: There is one.
    """
    smallest = int(different.argmin())
    if different[smallest] >= folds:
        return
    count = format_count(int(different[smallest]), "different picture")
    advice = "add pictures, or leave the class out with --classes"
    if different[smallest] >= 2:
        advice = f"use --folds {different[smallest]}, or leave the class out with --classes"
    raise DataError(
        f"the class {classes[smallest]} has {count} to train on, fewer than the {folds} folds of "
        f"the audit; {advice}."
    )
