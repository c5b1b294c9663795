"""Checks of the splits: errors where nothing can be learned, warnings about the rest."""

from __future__ import annotations

import numpy as np

from emotion_runtime.prediction import format_count
from emotion_train.data.dataset import Dataset
from emotion_train.data.duplicates import MIN_DIFFERENT_PICTURES
from emotion_train.data.faces import Faces
from emotion_train.errors import DataError


def require_every_class(train: Faces, classes: tuple[str, ...], reason: str) -> None:
    """Raise an error if a class has no training picture.

    Args:
        train: The training faces.
        classes: Class names in label order.
        reason: What removed pictures, for the message.

    Raises:
        DataError: A class has no picture.
    """
    empty = [classes[label] for label in np.flatnonzero(train.count_by_class(len(classes)) == 0)]
    if empty:
        raise DataError(f"no training picture of {', '.join(empty)} is left after {reason}.")


def list_warnings(dataset: Dataset, holdout: float = 0.0) -> list[str]:
    """Return warnings about splits whose results would be less meaningful than they look.

    Args:
        dataset: The splits.
        holdout: The requested hold-out fraction.

    Returns:
        Sentences without a full stop.

    Raises:
        DataError: All training pictures are identical.
    """
    classes, train = dataset.classes, dataset.train
    warnings = []
    hashes = train.hash_pixels()
    if len(set(hashes)) == 1:
        raise DataError(f"all {len(train):,} training pictures are the same: nothing to learn.")
    for label, name in enumerate(classes):
        members = np.flatnonzero(train.labels == label)
        if len(members) > 1 and len({hashes[i] for i in members}) == 1:
            warnings.append(f"all {len(members):,} training pictures of {name} are the same")
    warnings += _describe_duplicates(dataset)
    if holdout and not len(dataset.holdout):
        warnings.append(
            f"--holdout {holdout:g} is less than one picture of any class: nothing is held out, "
            f"and epochs are chosen on the validation pictures"
        )
    elif holdout and (missing := _find_missing_classes(dataset.holdout, classes)):
        warnings.append(f"the hold-out has no picture of {', '.join(missing)}")
    if dataset.test is not None and (missing := _find_missing_classes(dataset.test, classes)):
        warnings.append(
            f"no pictures of {', '.join(missing)} in test: its accuracy does not cover "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
    if unreadable := dataset.unreadable.get("test", 0):
        count = format_count(unreadable, "test picture")
        warnings.append(f"{count} could not be read, not measured")
    if faceless := dataset.faceless.get("test", 0):
        count = format_count(faceless, "test picture")
        warnings.append(f"no face was found in {count}, not measured")
    if dataset.validation_per_class == 0 and (
        missing := _find_missing_classes(dataset.validation, classes)
    ):
        warnings.append(f"the validation set has no picture of {', '.join(missing)}")
    return warnings


def _list_held_out(dataset: Dataset) -> dict[str, Faces]:
    splits = {"validation": dataset.validation, "hold-out": dataset.holdout}
    return splits if dataset.test is None else {**splits, "test": dataset.test}


def _find_missing_classes(faces: Faces, classes: tuple[str, ...]) -> list[str]:
    return [classes[label] for label in np.flatnonzero(faces.count_by_class(len(classes)) == 0)]


def _describe_duplicates(dataset: Dataset) -> list[str]:
    """Return warnings about identical pictures that are still in train, or have two labels."""
    audit, warnings = dataset.audit, []
    if audit.contradictory:
        shown = "; ".join(" and ".join(names) for names in audit.contradictory)
        warnings.append(
            f"in more than one class: {format_count(audit.contradictory_groups, 'picture')}, such "
            f"as {shown}"
        )
    for name, count in audit.kept.items():
        copies = "is a copy" if count == 1 else "are copies"
        warnings.append(
            f"{format_count(count, 'training picture')} of {name} {copies} of held-out pictures or "
            f"of each other, kept in train, since fewer than {MIN_DIFFERENT_PICTURES} others would "
            f"be left"
        )
    learned = set(dataset.train.hash_pixels())
    hint = "" if audit.kept else " (--keep-duplicates keeps them there)"
    held_out = _list_held_out(dataset)
    for split, faces in held_out.items():
        if known := sum(one in learned for one in faces.hash_pixels()):
            warnings.append(
                f"{known:,} of {len(faces):,} {split} pictures are in train too: figures on them "
                f"are too good{hint}"
            )
    if dataset.test is not None:
        of_test = set(dataset.test.hash_pixels())
        chosen_on = [*dataset.validation.hash_pixels(), *dataset.holdout.hash_pixels()]
        if known := sum(one in of_test for one in chosen_on):
            warnings.append(
                f"{known:,} of {len(chosen_on):,} validation and hold-out pictures are in test "
                f"too: choices on these pictures are choices on a part of test"
            )
    return warnings
