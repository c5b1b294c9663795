"""From labelled pictures to the splits of a run: train, validation, hold-out, test.

What is drawn depends on the seed and the names alone, so that the same command on another machine
trains on the same faces.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.pictures.preprocessing import FACE_SIZE
from emotion_runtime.prediction import counted
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
from emotion_train.recipe import VALIDATION_PER_CLASS

VALIDATION_SHARE = 0.15  # of the smallest class, where that is less than VALIDATION_PER_CLASS
FEWEST_PER_CLASS = 2


@dataclass(frozen=True)
class Audit:
    """What the pictures say of each other; identical means equal in every pixel.

    Attributes:
        identical_groups: Groups of two or more identical pictures, over all splits.
        contradictory_groups: Those among them that stand under more than one label.
        test_in_train: Test pictures that also stand in the training folder (before the split).
        held_out_in_train: Validation and hold-out pictures that also stand in train.
        dropped: Pictures that ``drop_duplicates`` took out of train.
    """

    identical_groups: int
    contradictory_groups: int
    test_in_train: int
    held_out_in_train: int
    dropped: int

    def __str__(self) -> str:
        text = (
            f"audit: {self.identical_groups:,} groups of identical pictures, "
            f"{self.contradictory_groups:,} of them under two labels; "
            f"{self.test_in_train:,} test pictures stand in the training folder too, "
            f"{self.held_out_in_train:,} held-out pictures in train"
        )
        return text + (f"; {self.dropped:,} dropped from train" if self.dropped else "")


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
    holdout: float = 0.0,
    drop_duplicates: bool = False,
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
        holdout: Fraction of what remains of each class that is held out as well, 0 to 0.9.
        drop_duplicates: Remove from train what also stands in validation, hold-out or test.
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
            f"{data}: the class {name} has {counted(fewest, 'training picture')}; at least "
            f"{FEWEST_PER_CLASS} are needed, one to learn from and one to measure on."
        )
    if source.flat:
        of_test = draw_test(everything, len(source.classes))
        test = everything.take(np.flatnonzero(of_test))
        everything = everything.take(np.flatnonzero(~of_test))
        together = "; identical pictures stay in one split" if own is None else ""
        notes.append(
            f"test: {counted(len(test), 'picture')}, {TEST_SHARE:.0%} of each class, drawn by "
            f"their file names{together}"
        )
        _require_every_class(data, everything, source.classes, "test, with its identical pictures")
    per_class, note = _choose_validation(data, source, everything, validation_per_class, own)
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
        end = per_class + round(holdout * (len(members) - per_class))
        held["validation"].append(np.sort(drawn[:per_class]))
        held["holdout"].append(np.sort(drawn[per_class:end]))
    splits = _take(everything, held, together=source.flat)
    if own is not None:
        splits["validation"] = own
    _require_every_class(data, splits["train"], source.classes)
    audit, duplicates = _audit(splits, test)
    train, inventory = splits["train"], source.inventory
    if drop_duplicates:
        labels = train.labels[duplicates]
        inventory = inventory.without((source.classes[i] for i in labels), DUPLICATE)
        train = train.take(np.flatnonzero(~duplicates))
        audit = replace(audit, dropped=int(duplicates.sum()))
        empty = np.flatnonzero(train.counts(len(source.classes)) == 0)
        if len(empty):
            raise DataError(
                f"{data}: every training picture of {source.classes[empty[0]]} stands in another "
                f"split too; nothing is left after --drop-duplicates."
            )
    return Dataset(
        source.classes,
        train,
        splits["validation"],
        splits["holdout"],
        test,
        audit,
        tuple(source.skipped),
        source.unreadable,
        source.passed_over,
        source.faceless,
        tuple(notes),
        inventory,
        per_class,
    )


def _choose_validation(
    data: Path, source: Source, train: Faces, wanted: int | None, own: Faces | None
) -> tuple[int, str]:
    """Return how many pictures of each class to hold out, and a sentence about it."""
    if own is not None:
        if wanted:
            raise DataError(
                f"{data}: has a validation set of its own, {counted(len(own), 'picture')}; leave "
                f"--validation out."
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
        what = f"{counted(nested, 'picture')} in sub-folders" if nested else "no folder 'train'"
        raise DataError(
            f"{data}: has {what}, which the emotion-edge that this checkpoint was trained with did "
            f"not read; name its own data, or train anew."
        )


def _audit(splits: dict[str, Faces], test: Faces | None) -> tuple[Audit, NDArray[np.bool_]]:
    """Count identical pictures, and mark those of train that stand elsewhere too."""
    groups: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    train_prints: list[bytes] = []
    for split, faces in {**splits, **({"test": test} if test is not None else {})}.items():
        prints = faces.fingerprints()
        if split == "train":
            train_prints = prints
        for fingerprint, label in zip(prints, faces.labels, strict=True):
            groups[fingerprint].append((split, int(label)))
    repeated = [group for group in groups.values() if len(group) > 1]
    members = [[split for split, _ in group] for group in repeated]
    audit = Audit(
        identical_groups=len(repeated),
        contradictory_groups=sum(len({label for _, label in group}) > 1 for group in repeated),
        test_in_train=sum(g.count("test") for g in members if set(g) != {"test"}),
        held_out_in_train=sum(
            g.count("validation") + g.count("holdout") for g in members if "train" in g
        ),
        dropped=0,
    )
    elsewhere = [any(split != "train" for split, _ in groups[p]) for p in train_prints]
    return audit, np.array(elsewhere, dtype=np.bool_)
