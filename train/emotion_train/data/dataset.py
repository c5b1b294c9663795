"""The splits of a run: train, validation, hold-out and test.

They depend on the seed and the names alone, so that the same command gives the same splits on
another machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.pictures.preprocessing import FACE_SIZE
from emotion_runtime.prediction import format_count
from emotion_train.data.duplicates import Audit, find_copies
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import (
    TEST_SHARE,
    add_copies,
    draw_test,
    order_by_name,
)
from emotion_train.data.readers import read_source
from emotion_train.data.source import DUPLICATE, Inventory, Source
from emotion_train.errors import DataError
from emotion_train.recipe import (
    DROP_DUPLICATES,
    MIN_PICTURES_FOR_HOLDOUT,
    VALIDATION_PER_CLASS,
    Recipe,
)

VALIDATION_SHARE = 0.15  # of the smallest class, where that is less than VALIDATION_PER_CLASS
MIN_PICTURES_PER_CLASS = 2
HOLDOUT_SHARE = 0.1  # by default
MAX_HOLDOUT_PICTURES = 5_000  # about, by default; they measure 85 % to ±1 point (95 % interval)


@dataclass(frozen=True)
class Dataset:
    """The splits of a run.

    Attributes:
        classes: Class names in label order.
        train: The training faces, before oversampling.
        validation: The validation faces: the same number of each class, drawn by seed, or the
            validation set of the data.
        holdout: Further held-out faces, to choose epochs and recipes; may be empty.
        test: The test faces, for the final report alone; None if the data have no test split.
        audit: Counts of identical pictures.
        skipped: One sentence per picture that could not be read.
        unreadable: How many pictures could not be read, by split of the source.
        passed_over: One sentence, with a count, per kind of file or row that is not read.
        faceless: How many photographs show no face, by split of the source.
        notes: What was recognised and chosen, in sentences without a full stop.
        inventory: Counts of files that were found and left out, by class.
        validation_per_class: Validation pictures drawn of each class; 0 if the data have a
            validation set.
        holdout_share: Fraction of the remaining pictures of each class that was held out.
        drawn: For each class the number of held-out pictures and the SHA-256 of their names,
            before copies of test pictures were left out. Equal values mean equal pictures.
    """

    classes: tuple[str, ...]
    train: Faces
    validation: Faces
    holdout: Faces
    test: Faces | None
    audit: Audit
    skipped: tuple[str, ...] = ()
    unreadable: Mapping[str, int] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    faceless: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    inventory: Inventory = field(default_factory=Inventory)
    validation_per_class: int = VALIDATION_PER_CLASS
    holdout_share: float = 0.0
    drawn: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def selection(self) -> Faces:
        """Return the faces on which epochs are chosen: hold-out, or else validation."""
        return self.holdout if len(self.holdout) else self.validation

    def digest(self) -> str:
        """Return the SHA-256 of classes, pixels and labels of all splits but test."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for faces in (self.train, self.validation, self.holdout):
            digest.update(np.int64(len(faces)).tobytes())
            digest.update(faces.labels.tobytes())
            digest.update(faces.pixels.tobytes())
        return digest.hexdigest()


def load_dataset(
    data: Path,
    *,
    classes: Sequence[str] | None = None,
    size: int = FACE_SIZE,
    seed: int = 0,
    validation_per_class: int | None = None,
    holdout: float | None = None,
    duplicates: str = DROP_DUPLICATES,
    progress: bool = False,
    faces: bool = False,
    validation: Path | None = None,
) -> Dataset:
    """Read the data and split them.

    Pictures are held out in the order of ``sha256("SEED/NAME")``: first for validation, then for
    the hold-out. Data without splits first get a test set, see `held_out_draw.draw_test`; there,
    copies of a held-out picture are held out with it.

    Args:
        data: As in `read_source`.
        classes: As in `read_source`.
        size: Side of the faces, in pixels.
        seed: Seeds the draw of validation and hold-out.
        validation_per_class: Pictures of each class held out for validation. None for 46, or for
            15 % of the smallest class if that is less. 0 if the data have a validation set.
        holdout: Fraction of the remaining pictures of each class that is held out as well, 0 to
            0.9. None for 10 %, or for 0 if the data are few or have a validation set.
        duplicates: Which identical pictures to leave out of train, a name in
            `emotion_train.recipe.DUPLICATES`. A class that would have fewer than five different
            pictures keeps all of its own.
        progress: Show a bar on a terminal.
        faces: The pictures are photographs: find and crop the largest face of each.
        validation: A folder of class folders to use as the validation set.

    Raises:
        DataError: The data are missing, malformed or too few.
    """
    if classes is not None and len(set(classes)) != len(classes):
        raise DataError(f"the classes {', '.join(classes)} name one twice.")
    source = read_source(
        data, classes, size=size, progress=progress, faces=faces, validation=validation
    )
    _check_classes(data, source, validation_per_class)
    own_validation = source.splits.get("validation")
    notes = list(source.notes)
    pool, test, note = _split_off_test(data, source, own_validation)
    notes += note
    per_class, note = _choose_validation(data, source, pool, validation_per_class, own_validation)
    notes += note
    share, note = _choose_holdout(pool, per_class * len(source.classes), holdout, own_validation)
    notes += note
    members = _draw_held_out(data, pool, source.classes, per_class, share, seed=seed)
    splits = _split_pool(pool, members, together=source.is_flat)
    if own_validation is not None:
        splits["validation"] = own_validation
    _require_every_class(data, splits["train"], source.classes)
    drawn = _describe_draw(splits, source.classes)
    copies = find_copies(splits, test, source.classes, duplicates)
    inventory = source.inventory
    for split, left_out in copies.left_out.items():
        labels = splits[split].labels[left_out]
        inventory = inventory.leave_out((source.classes[label] for label in labels), DUPLICATE)
        splits[split] = splits[split].take(np.flatnonzero(~left_out))
    return Dataset(
        classes=source.classes,
        train=splits["train"],
        validation=splits["validation"],
        holdout=splits["holdout"],
        test=test,
        audit=copies.audit,
        skipped=tuple(source.skipped),
        unreadable=source.unreadable,
        passed_over=source.passed_over,
        faceless=source.faceless,
        notes=tuple(notes),
        inventory=inventory,
        validation_per_class=per_class,
        holdout_share=share,
        drawn=drawn,
    )


def load_recipe_dataset(
    data: Path,
    recipe: Recipe,
    *,
    validation: Path | None = None,
    progress: bool = False,
) -> Dataset:
    """Read the data and split them according to a recipe.

    Args:
        data: As in `read_source`.
        recipe: Gives the classes, the size, and what to hold out and leave out.
        validation: As in `load_dataset`.
        progress: As in `load_dataset`.

    Raises:
        DataError: The data are missing, malformed or too few.
    """
    return load_dataset(
        data,
        classes=recipe.classes or None,
        size=recipe.size,
        seed=recipe.seed,
        validation_per_class=recipe.validation_per_class,
        holdout=recipe.holdout,
        duplicates=recipe.duplicates,
        progress=progress,
        faces=recipe.faces,
        validation=validation,
    )


def _check_classes(data: Path, source: Source, validation_per_class: int | None) -> None:
    """Raise an error if there are too few classes, or too few pictures of one.

    Raises:
        DataError: As above.
    """
    if len(source.classes) < 2:
        raise DataError(f"{data}: one class ({source.classes[0]}) leaves nothing to tell apart.")
    counts = source.splits["train"].count_by_class(len(source.classes))
    smallest = int(counts.min())
    if validation_per_class is None and smallest < MIN_PICTURES_PER_CLASS:
        raise DataError(
            f"{data}: the class {source.classes[int(counts.argmin())]} has "
            f"{format_count(smallest, 'training picture')}; at least {MIN_PICTURES_PER_CLASS} are "
            f"needed, one to learn from and one to measure on."
        )


def _split_off_test(
    data: Path, source: Source, own_validation: Faces | None
) -> tuple[Faces, Faces | None, list[str]]:
    """Return the faces to train on and to hold out, the test set, and a note if it was drawn."""
    pool = source.splits["train"]
    if not source.is_flat:
        return pool, source.splits.get("test"), []
    is_test = draw_test(pool, len(source.classes))
    test, pool = pool.take(np.flatnonzero(is_test)), pool.take(np.flatnonzero(~is_test))
    _require_every_class(data, pool, source.classes, "test, with its identical pictures")
    together = "; identical pictures stay in one split" if own_validation is None else ""
    note = (
        f"test: {format_count(len(test), 'picture')}, {TEST_SHARE:.0%} of each class, drawn by "
        f"their file names{together}"
    )
    return pool, test, [note]


def _draw_held_out(
    data: Path,
    pool: Faces,
    classes: Sequence[str],
    per_class: int,
    share: float,
    *,
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Return indices of the faces for ``validation`` and ``holdout``.

    Raises:
        DataError: A class has too few pictures.
    """
    drawn: dict[str, list[NDArray[np.int64]]] = {"validation": [], "holdout": []}
    for label, name in enumerate(classes):
        members = np.flatnonzero(pool.labels == label)
        if len(members) <= per_class:
            raise DataError(
                f"{data}: the class {name} has {format_count(len(members), 'training picture')}; "
                f"more than {per_class} must be there, since so many are held out for validation"
                f"{' (--validation N holds out fewer)' if per_class > 1 else ''}."
            )
        order = order_by_name(pool, members, seed)
        end = per_class + round(share * (len(members) - per_class))
        drawn["validation"].append(np.sort(order[:per_class]))
        drawn["holdout"].append(np.sort(order[per_class:end]))
    return {split: np.concatenate(parts) for split, parts in drawn.items()}


def _choose_validation(
    data: Path, source: Source, train: Faces, wanted: int | None, own: Faces | None
) -> tuple[int, list[str]]:
    """Return how many pictures of each class to hold out, and a note."""
    if own is not None:
        if wanted:
            raise DataError(
                f"{data}: has a validation set of its own, {format_count(len(own), 'picture')}; "
                f"leave --validation out."
            )
        return 0, [
            f"validation: {format_count(len(own), 'picture')} of the data's own validation set"
        ]
    if wanted == 0:
        raise DataError(
            f"{data}: has no validation set, and the run was trained with one; put it beside "
            f"train, as {data}/val/<class>/*."
        )
    if wanted is not None:
        count = format_count(wanted, "picture")
        return wanted, [f"validation: {count} of each class, drawn by their file names"]
    counts = train.count_by_class(len(source.classes))
    share = max(1, round(VALIDATION_SHARE * int(counts.min())))
    chosen = min(VALIDATION_PER_CLASS, share)
    reason = ""
    if chosen < VALIDATION_PER_CLASS:
        name = source.classes[int(counts.argmin())]
        reason = f" ({VALIDATION_SHARE:.0%} of the smallest, {name})"
    count = format_count(chosen, "picture")
    return chosen, [f"validation: {count} of each class{reason}, drawn by their file names"]


def _choose_holdout(
    train: Faces, validation: int, wanted: float | None, own: Faces | None
) -> tuple[float, list[str]]:
    """Return the fraction of the remaining pictures to hold out, and a note.

    Args:
        train: The faces from which validation and hold-out are drawn.
        validation: How many of them go to validation.
        wanted: The requested fraction; None to choose one.
        own: The validation set of the data, if there is one.
    """
    if wanted is not None:
        share, reason = wanted, ""
    elif own is not None:
        share, reason = 0.0, " by default, since the data have a validation set"
    elif len(train) < MIN_PICTURES_FOR_HOLDOUT:
        share, reason = 0.0, f" by default of under {MIN_PICTURES_FOR_HOLDOUT:,} training pictures"
    else:
        share = min(HOLDOUT_SHARE, round(MAX_HOLDOUT_PICTURES / (len(train) - validation), 4))
        reason = ""
    if share:
        return share, [f"hold-out: {share:.4g} of the rest of each class, drawn in the same way"]
    return share, [f"hold-out: none{reason}; the epoch is chosen on the validation pictures"]


def _split_pool(
    pool: Faces, drawn: Mapping[str, NDArray[np.int64]], *, together: bool
) -> dict[str, Faces]:
    """Return the splits of a pool of faces.

    Args:
        pool: All faces but those of test.
        drawn: Indices of the faces of each held-out split.
        together: Put copies of a held-out face into the same split.
    """
    members = dict(drawn)
    is_free = np.ones(len(pool), np.bool_)
    for split, indices in drawn.items():
        if together:
            is_chosen = np.zeros(len(pool), np.bool_)
            is_chosen[indices] = True
            indices = np.flatnonzero(add_copies(pool, is_chosen & is_free) & is_free)
            members[split] = indices[np.argsort(pool.labels[indices], kind="stable")]
        is_free[members[split]] = False
    rest = np.flatnonzero(is_free)
    members["train"] = rest[np.argsort(pool.labels[rest], kind="stable")]
    return {split: pool.take(members[split]) for split in ("train", "validation", "holdout")}


def _describe_draw(
    splits: Mapping[str, Faces], classes: Sequence[str]
) -> dict[str, tuple[int, str]]:
    """Return the number of held-out pictures of each class, and a digest of their names."""
    held_out = (splits["validation"], splits["holdout"])
    drawn = {}
    for label, name in enumerate(classes):
        names = sorted(
            faces.names[index]
            for faces in held_out
            for index in np.flatnonzero(faces.labels == label)
        )
        text = "\n".join(names).encode("utf-8", "surrogateescape")
        drawn[name] = (len(names), hashlib.sha256(text).hexdigest())
    return drawn


def _require_every_class(
    data: Path, train: Faces, classes: tuple[str, ...], split: str | None = None
) -> None:
    empty = np.flatnonzero(train.count_by_class(len(classes)) == 0)
    if len(empty):
        advice = f" in {split}; add others" if split else "; lower --validation or --holdout"
        raise DataError(f"{data}: every picture of {classes[empty[0]]} would be held out{advice}.")
