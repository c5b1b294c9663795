"""From labelled pictures to the splits of a run: train, validation, hold-out, test.

What is drawn depends on the seed and the names alone, so that the same command on another machine
trains on the same faces.
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
    BY_NAME,
    BY_PLACE,
    TEST_SHARE,
    draw_test,
    order_by_name,
    order_by_place,
    with_copies,
)
from emotion_train.data.readers import read_source
from emotion_train.data.source import DUPLICATE, Inventory, Source
from emotion_train.errors import DataError
from emotion_train.recipe import (
    DROP_DUPLICATES,
    FEWEST_FOR_HOLDOUT,
    VALIDATION_PER_CLASS,
    Recipe,
)

VALIDATION_SHARE = 0.15  # of the smallest class, where that is less than VALIDATION_PER_CLASS
FEWEST_PER_CLASS = 2
HOLDOUT_SHARE = 0.1  # by default
MAX_HOLDOUT = 5_000  # pictures, about, by default: they tell 85 % to a point (95 % interval)


@dataclass(frozen=True)
class Dataset:
    """The splits of a run.

    Attributes:
        classes: Class names in label order.
        train: What is learned from, before balance.
        validation: Held out to watch the training: the same number of each class, drawn by seed,
            or the data's own validation set.
        holdout: A further part held out of train, to choose epochs and recipes on; may be empty.
        test: For the final report alone; None where the data have no test split.
        audit: Identical pictures across the splits.
        skipped: One sentence for each picture that could not be read.
        unreadable: How many these are, by split of the source (``train``, ``test``).
        passed_over: One sentence, with a count, for each kind of file or row that is not read.
        faceless: In how many photographs no face was found, by split of the source.
        notes: What was recognised and chosen, in sentences without a full stop.
        inventory: Counts of what was found and left out, by class.
        validation_per_class: Validation pictures that were drawn of each class; 0 where the data
            have a validation set of their own.
        holdout_share: Fraction of the rest of each class that was held out.
        drawn: How many pictures of each class were held out of training, and the SHA-256 of their
            names, before copies of test pictures left: another run with the same held out the same.
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

    def selection(self) -> Faces:
        """Return what epochs are chosen on: the hold-out where there is one, else validation."""
        return self.holdout if len(self.holdout) else self.validation

    def digest(self) -> str:
        """Give the SHA-256 of classes, pixels and labels of what is trained and held out."""
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
    draw: str = BY_NAME,
) -> Dataset:
    """Read the data and split them.

    Held-out pictures come first in the order of ``sha256("SEED/NAME")``: validation, then hold-out,
    then train. Data without splits give a test set first, `held_out_draw.draw_test`, and there a
    held-out picture takes its copies along.

    Args:
        data: As in `read_source`.
        classes: As in `read_source`.
        size: Side of the faces, in pixels.
        seed: Draws validation and hold-out.
        validation_per_class: Pictures of each class held out for validation; None for 46, or for
            15 % of the smallest class where that is less; 0 where the data have a validation set.
        holdout: Fraction of what remains of each class that is held out as well, 0 to 0.9; None
            for 10 %, or for 0 where the data are few or have a validation set.
        duplicates: What of train is left out because it is equal to another picture: a name in
            `emotion_train.recipe.DUPLICATES`. A class that would have fewer than five different
            pictures keeps all of its own.
        progress: Show a bar on a terminal.
        faces: The pictures are photographs: find the largest face of each, and crop it.
        validation: A folder of class folders to use as the validation set.
        draw: `BY_NAME`, or `BY_PLACE` to repeat the splits of an older checkpoint.

    Raises:
        DataError: The data are missing, malformed or too few.
    """
    if classes is not None and len(set(classes)) != len(classes):
        raise DataError(f"the classes {', '.join(classes)} name one twice.")
    if draw not in (BY_NAME, BY_PLACE):
        raise DataError(
            f"{data}: the checkpoint's held-out pictures were drawn in a way that this version of "
            f"emotion-edge does not know."
        )
    source = read_source(
        data, classes, size=size, progress=progress, faces=faces, validation=validation
    )
    if len(source.classes) < 2:
        raise DataError(f"{data}: one class ({source.classes[0]}) leaves nothing to tell apart.")
    if draw == BY_PLACE:
        _require_old_layout(data, source)
    everything = source.splits["train"]
    own = source.splits.get("validation") if draw == BY_NAME else None
    test = source.splits.get("test")
    notes = list(source.notes)
    fewest = int(everything.counts(len(source.classes)).min())
    if validation_per_class is None and fewest < FEWEST_PER_CLASS:
        name = source.classes[int(everything.counts(len(source.classes)).argmin())]
        raise DataError(
            f"{data}: the class {name} has {format_count(fewest, 'training picture')}; at least "
            f"{FEWEST_PER_CLASS} are needed, one to learn from and one to measure on."
        )
    if source.flat:
        of_test = draw_test(everything, len(source.classes))
        test = everything.take(np.flatnonzero(of_test))
        everything = everything.take(np.flatnonzero(~of_test))
        together = "; identical pictures stay in one split" if own is None else ""
        notes.append(
            f"test: {format_count(len(test), 'picture')}, {TEST_SHARE:.0%} of each class, drawn by "
            f"their file names{together}"
        )
        _require_every_class(data, everything, source.classes, "test, with its identical pictures")
    per_class, note = _choose_validation(data, source, everything, validation_per_class, own)
    notes.append(note)
    share, note = _choose_holdout(everything, per_class * len(source.classes), holdout, own)
    notes.append(note)
    held: dict[str, list[NDArray[np.int64]]] = {"validation": [], "holdout": []}
    for label, name in enumerate(source.classes):
        members = np.flatnonzero(everything.labels == label)
        if len(members) <= per_class:
            raise DataError(
                f"{data}: the class {name} has {len(members)} training pictures; more than "
                f"{per_class} are needed, since so many are held out for validation"
                f"{' (--validation N holds out fewer)' if per_class > 1 else ''}."
            )
        drawn = (
            order_by_name(everything, members, seed)
            if draw == BY_NAME
            else order_by_place(members, seed, label)
        )
        end = per_class + round(share * (len(members) - per_class))
        held["validation"].append(np.sort(drawn[:per_class]))
        held["holdout"].append(np.sort(drawn[per_class:end]))
    splits = _take(everything, held, together=source.flat)
    if own is not None:
        splits["validation"] = own
    _require_every_class(data, splits["train"], source.classes)
    held_out = _describe_draw(splits, source.classes)
    copies = find_copies(splits, test, source.classes, duplicates)
    inventory = source.inventory
    for split, left_out in copies.left_out.items():
        gone = (source.classes[label] for label in splits[split].labels[left_out])
        inventory = inventory.without(gone, DUPLICATE)
        splits[split] = splits[split].take(np.flatnonzero(~left_out))
    return Dataset(
        source.classes,
        splits["train"],
        splits["validation"],
        splits["holdout"],
        test,
        copies.audit,
        tuple(source.skipped),
        source.unreadable,
        source.passed_over,
        source.faceless,
        tuple(notes),
        inventory,
        per_class,
        share,
        held_out,
    )


def load_recipe_dataset(
    data: Path,
    recipe: Recipe,
    *,
    validation: Path | None = None,
    draw: str = BY_NAME,
    progress: bool = False,
) -> Dataset:
    """Read the data and split them as a recipe says.

    Args:
        data: As in `read_source`.
        recipe: Names the classes, the size, and what is held out and left out.
        validation: As in `load_dataset`.
        draw: As in `load_dataset`.
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
        draw=draw,
    )


def _choose_validation(
    data: Path, source: Source, train: Faces, wanted: int | None, own: Faces | None
) -> tuple[int, str]:
    """Return how many pictures of each class to hold out, and a sentence about it."""
    if own is not None:
        if wanted:
            raise DataError(
                f"{data}: has a validation set of its own, {format_count(len(own), 'picture')}; "
                f"leave --validation out."
            )
        return 0, f"validation: the {len(own):,} pictures of the data's own validation set"
    if wanted == 0:
        raise DataError(
            f"{data}: has no validation set, and the run was trained with one; put it beside "
            f"train, as {data}/val/<class>/*."
        )
    if wanted is not None:
        return wanted, f"validation: {wanted:,} pictures of each class, drawn by their file names"
    counts = train.counts(len(source.classes))
    share = max(1, round(VALIDATION_SHARE * int(counts.min())))
    chosen = min(VALIDATION_PER_CLASS, share)
    why = ""
    if chosen < VALIDATION_PER_CLASS:
        name = source.classes[int(counts.argmin())]
        why = f" ({VALIDATION_SHARE:.0%} of the smallest, {name})"
    return chosen, f"validation: {chosen:,} pictures of each class{why}, drawn by their file names"


def _choose_holdout(
    train: Faces, validation: int, wanted: float | None, own: Faces | None
) -> tuple[float, str]:
    """Return the fraction of the rest that is held out of training as well, and a sentence.

    Args:
        train: What validation and hold-out are drawn from.
        validation: How many pictures of it go to validation.
        wanted: The fraction that was named; None to choose one.
        own: The data's own validation set.
    """
    if wanted is not None:
        share, why = wanted, ""
    elif own is not None:
        share, why = 0.0, " by default, since the data have a validation set"
    elif len(train) < FEWEST_FOR_HOLDOUT:
        share, why = 0.0, f" by default of under {FEWEST_FOR_HOLDOUT:,} training pictures"
    else:
        share = min(HOLDOUT_SHARE, round(MAX_HOLDOUT / (len(train) - validation), 4))
        why = ""
    if share:
        return share, f"hold-out: {share:.4g} of the rest of each class, drawn in the same way"
    return share, f"hold-out: none{why}; the epoch is chosen on the validation pictures"


def _take(
    everything: Faces, held: Mapping[str, list[NDArray[np.int64]]], *, together: bool
) -> dict[str, Faces]:
    """Split by the members that are held out; with `together`, copies go where the first went."""
    members = {split: np.concatenate(parts) for split, parts in held.items()}
    free = np.ones(len(everything), np.bool_)
    for split, drawn in members.items():
        if together:
            chosen = np.zeros(len(everything), np.bool_)
            chosen[drawn] = True
            drawn = np.flatnonzero(with_copies(everything, chosen & free) & free)
            members[split] = drawn[np.argsort(everything.labels[drawn], kind="stable")]
        free[members[split]] = False
    rest = np.flatnonzero(free)
    members["train"] = rest[np.argsort(everything.labels[rest], kind="stable")]
    return {split: everything.take(members[split]) for split in ("train", "validation", "holdout")}


def _describe_draw(
    splits: Mapping[str, Faces], classes: Sequence[str]
) -> dict[str, tuple[int, str]]:
    """Return, for each class, how many pictures are held out, and a digest of their names."""
    held_out = (splits["validation"], splits["holdout"])
    drawn = {}
    for label, name in enumerate(classes):
        names = sorted(
            faces.names[place]
            for faces in held_out
            for place in np.flatnonzero(faces.labels == label)
        )
        text = "\n".join(names).encode("utf-8", "surrogateescape")
        drawn[name] = (len(names), hashlib.sha256(text).hexdigest())
    return drawn


def _require_every_class(
    data: Path, train: Faces, classes: tuple[str, ...], why: str | None = None
) -> None:
    gone = np.flatnonzero(train.counts(len(classes)) == 0)
    if len(gone):
        where = f" in {why}; add others" if why else "; lower --validation or --holdout"
        raise DataError(f"{data}: every picture of {classes[gone[0]]} would be held out{where}.")


def _require_old_layout(data: Path, source: Source) -> None:
    """Refuse what older versions did not read, since they would have split it otherwise.

    Raises:
        DataError: The data have no splits, or pictures in sub-folders of their classes.
    """
    nested = 0
    if data.is_dir():
        nested = sum(name.count("/") > 2 for name in source.splits["train"].names)
    if source.flat or nested:
        what = (
            f"{format_count(nested, 'picture')} in sub-folders" if nested else "no folder 'train'"
        )
        raise DataError(
            f"{data}: has {what}, which the emotion-edge that this checkpoint was trained with did "
            f"not read; name its own data, or train anew."
        )
