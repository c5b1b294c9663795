"""Identical pictures: within the training set, and between it and the held-out splits.

Pictures are identical if all pixels are equal at the input size of the network. A held-out picture
that is also in the training set makes figures too good; a repeated training picture counts twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.prediction import format_count
from emotion_train.data.faces import Faces
from emotion_train.recipe import DROP_DUPLICATES, DROP_HELD_OUT, KEEP_DUPLICATES

MIN_DIFFERENT_PICTURES = 5  # a class that would have fewer keeps its copies
_MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Audit:
    """Counts of identical pictures.

    Attributes:
        identical_groups: Groups of two or more identical pictures, over all splits.
        contradictory_groups: Groups among these with more than one label.
        test_in_train: Test pictures that are also in the training folder (before the split).
        held_out_in_train: Validation and hold-out pictures that are also in train.
        dropped: Training pictures left out because they are also in another split.
        repeated: Further training pictures left out because they repeat another one.
        held_out_dropped: Validation and hold-out pictures left out because they are also in test.
        kept: Copies that stay in train, for each class that would become too small.
        contradictory: Names of two pictures each of some contradictory groups.
    """

    identical_groups: int
    contradictory_groups: int
    test_in_train: int
    held_out_in_train: int
    dropped: int = 0
    repeated: int = 0
    held_out_dropped: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    contradictory: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = (
            f"audit: {format_count(self.identical_groups, 'group')} of identical pictures, "
            f"{self.contradictory_groups:,} of them under two labels; "
            f"{format_count(self.test_in_train, 'test picture')} with a copy in the training "
            f"folder, {format_count(self.held_out_in_train, 'held-out picture')} with a copy in "
            f"train"
        )
        left_out = (
            (self.dropped, "copy", "copies", "of held-out or test pictures left out of train"),
            (self.repeated, "further copy", "further copies", "within train"),
            (
                self.held_out_dropped,
                *("copy", "copies", "of test pictures left out of validation and hold-out"),
            ),
        )
        counts = [
            f"{count:,} {one if count == 1 else several} {which}"
            for count, one, several, which in left_out
            if count
        ]
        return "; ".join([text, *counts])


@dataclass(frozen=True, eq=False)
class Copies:
    """The pictures to leave out because they equal others.

    Attributes:
        audit: The counts.
        left_out: For ``train``, ``validation`` and ``holdout`` a bool array, shape (n,).
    """

    audit: Audit
    left_out: Mapping[str, NDArray[np.bool_]]


def find_copies(
    splits: Mapping[str, Faces], test: Faces | None, classes: Sequence[str], duplicates: str
) -> Copies:
    """Count identical pictures, and choose which of them to leave out.

    Args:
        splits: ``train``, ``validation`` and ``holdout``.
        test: The test set, if there is one; it is kept as it is.
        classes: Class names in label order.
        duplicates: A name in `emotion_train.recipe.DUPLICATES`.
    """
    every = {**splits, **({"test": test} if test is not None else {})}
    hashes = {split: faces.hash_pixels() for split, faces in every.items()}
    groups: dict[bytes, list[tuple[str, int, str]]] = defaultdict(list)
    for split, faces in every.items():
        for one, label, name in zip(hashes[split], faces.labels, faces.names, strict=True):
            groups[one].append((split, int(label), name))
    splits_of = {one: {split for split, _, _ in group} for one, group in groups.items()}

    train = splits["train"]
    elsewhere = np.array([len(splits_of[one]) > 1 for one in hashes["train"]], np.bool_)
    repeats = _find_repeated(hashes["train"], train.labels) & ~elsewhere
    left_out, kept = _choose_left_out(elsewhere, repeats, train.labels, classes, duplicates)
    of_splits = {"train": left_out}
    for split in ("validation", "holdout"):
        in_test = np.array(["test" in splits_of[one] for one in hashes[split]], np.bool_)
        of_splits[split] = in_test & (duplicates == DROP_DUPLICATES)
        _keep_every_class(of_splits[split], splits[split].labels)

    repeated = [group for group in groups.values() if len(group) > 1]
    members = [[split for split, _, _ in group] for group in repeated]
    contradictory = [g for g in repeated if len({label for _, label, _ in g}) > 1]
    audit = Audit(
        identical_groups=len(repeated),
        contradictory_groups=len(contradictory),
        test_in_train=sum(g.count("test") for g in members if set(g) != {"test"}),
        held_out_in_train=sum(
            g.count("validation") + g.count("holdout") for g in members if "train" in g
        ),
        dropped=int((left_out & elsewhere).sum()),
        repeated=int((left_out & repeats).sum()),
        held_out_dropped=int(of_splits["validation"].sum() + of_splits["holdout"].sum()),
        kept=kept,
        contradictory=tuple(_find_contradiction(group) for group in contradictory[:_MAX_EXAMPLES]),
    )
    return Copies(audit, of_splits)


def _choose_left_out(
    elsewhere: NDArray[np.bool_],
    repeats: NDArray[np.bool_],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    duplicates: str,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which training pictures to leave out, and how many copies small classes keep."""
    if duplicates == KEEP_DUPLICATES:
        return np.zeros_like(elsewhere), {}
    if duplicates == DROP_HELD_OUT:
        return elsewhere, {}
    left_out, kept = elsewhere | repeats, {}
    for label, name in enumerate(classes):
        members = labels == label
        copies = int((left_out & members).sum())
        if copies and members.sum() - copies < MIN_DIFFERENT_PICTURES:
            kept[name] = copies
            left_out &= ~members
    return left_out, kept


def _keep_every_class(left_out: NDArray[np.bool_], labels: NDArray[np.int64]) -> None:
    """Change `left_out` in place, so that no class becomes empty."""
    for label in np.unique(labels):
        members = labels == label
        if left_out[members].all():
            left_out[members] = False


def _find_repeated(hashes: Sequence[bytes], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pictures equal an earlier one of the same class, bool (n,)."""
    seen: set[tuple[bytes, int]] = set()
    repeated = np.zeros(len(hashes), np.bool_)
    for index, one in enumerate(zip(hashes, labels.tolist(), strict=True)):
        repeated[index] = one in seen
        seen.add(one)
    return repeated


def _find_contradiction(group: Sequence[tuple[str, int, str]]) -> tuple[str, str]:
    """Return the names of two pictures of a group that have different labels."""
    _, label, first = group[0]
    return first, next(name for _, other, name in group if other != label)
