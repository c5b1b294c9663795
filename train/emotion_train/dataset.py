"""From labelled pictures to the splits of a run: train, validation, hold-out, test.

What is drawn depends on the seed and the sorted names alone, so that the same command on
another machine trains on the same faces.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.preprocessing import FACE_SIZE
from emotion_train.errors import DataError
from emotion_train.faces import Faces
from emotion_train.readers import read_source
from emotion_train.recipe import DEFAULT_CLASSES, VALIDATION_PER_CLASS


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
        validation: The same number of each class, drawn by seed; never trained on.
        holdout: A further part held out of train, to choose epochs and recipes on; may be empty.
        test: For the final report alone; None where the data have no test split.
        audit: Identical pictures across the splits.
        skipped: One sentence for each picture that could not be read.
        unreadable: How many these are, by split of the source (``train``, ``test``).
        passed_over: One sentence, with a count, for each kind of file or row that is not read.
    """

    classes: tuple[str, ...]
    train: Faces
    validation: Faces
    holdout: Faces
    test: Faces | None
    audit: Audit
    skipped: tuple[str, ...]
    unreadable: Mapping[str, int] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()

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
    classes: Sequence[str] = DEFAULT_CLASSES,
    size: int = FACE_SIZE,
    seed: int = 0,
    validation_per_class: int = VALIDATION_PER_CLASS,
    holdout: float = 0.0,
    drop_duplicates: bool = False,
    progress: bool = False,
) -> Dataset:
    """Read the data and split them.

    Args:
        data: A folder ``DATA/{train,test}/<class>/*`` or the challenge's CSV.
        classes: Class names in label order, or ``("all",)``.
        size: Side of the faces, in pixels.
        seed: Draws validation and hold-out.
        validation_per_class: Pictures of each class held out for validation.
        holdout: Fraction of what remains of each class that is held out as well, 0 to 0.9.
        drop_duplicates: Remove from train what also stands in validation, hold-out or test.
        progress: Show a bar on a terminal.

    Raises:
        DataError: The data are missing, malformed or too few.
    """
    if len(set(classes)) != len(classes):
        raise DataError(f"the classes {', '.join(classes)} name one twice.")
    source = read_source(data, classes, size=size, progress=progress)
    if len(source.classes) < 2:
        raise DataError(f"{data}: one class ({source.classes[0]}) leaves nothing to tell apart.")
    everything = source.splits["train"]
    test = source.splits.get("test")
    kept: list[NDArray[np.int64]] = []
    validation: list[NDArray[np.int64]] = []
    held_out: list[NDArray[np.int64]] = []
    for label, name in enumerate(source.classes):
        members = np.flatnonzero(everything.labels == label)
        if len(members) <= validation_per_class:
            raise DataError(
                f"{data}: the class {name} has {len(members)} training pictures; more than "
                f"{validation_per_class} are needed, since so many are held out for validation "
                f"(--validation N holds out fewer)."
            )
        drawn = np.random.default_rng([seed, label]).permutation(members)
        cut = validation_per_class
        end = cut + round(holdout * (len(members) - cut))
        validation.append(np.sort(drawn[:cut]))
        held_out.append(np.sort(drawn[cut:end]))
        kept.append(np.sort(drawn[end:]))
    splits = {
        "train": everything.take(np.concatenate(kept)),
        "validation": everything.take(np.concatenate(validation)),
        "holdout": everything.take(np.concatenate(held_out)),
    }
    gone = np.flatnonzero(splits["train"].counts(len(source.classes)) == 0)
    if len(gone):
        raise DataError(
            f"{data}: every picture of {source.classes[gone[0]]} would be held out; lower "
            f"--validation or --holdout."
        )
    audit, duplicates = _audit(splits, test)
    train = splits["train"]
    if drop_duplicates:
        train = train.take(np.flatnonzero(~duplicates))
        audit = Audit(**{**audit.__dict__, "dropped": int(duplicates.sum())})
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
