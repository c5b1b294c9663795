"""Identical pictures: what of the training set also stands elsewhere, and what is left out of it.

Identical means equal in every pixel, at the size of the network's input. A training picture that is
also held out would be recognised instead of judged; one that is there twice counts for two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.recipe import DROP_DUPLICATES, DROP_HELD_OUT, KEEP_DUPLICATES

FEWEST_DIFFERENT = 5  # of a class; one that would have fewer keeps its copies
_EXAMPLES = 3


@dataclass(frozen=True)
class Audit:
    """What the pictures say of each other; identical means equal in every pixel.

    Attributes:
        identical_groups: Groups of two or more identical pictures, over all splits.
        contradictory_groups: Those among them that stand under more than one label.
        test_in_train: Test pictures that also stand in the training folder (before the split).
        held_out_in_train: Validation and hold-out pictures that also stand in train.
        dropped: Training pictures that were left out because they also stand in another split.
        repeated: Further ones that were left out because train holds them more than once.
        held_out_dropped: Validation and hold-out pictures that were left out because they also
            stand in test.
        kept: How many training pictures of all these kinds stay, for each class that would have
            become too small.
        contradictory: Names of two pictures of some contradictory groups.
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
            f"audit: {self.identical_groups:,} groups of identical pictures, "
            f"{self.contradictory_groups:,} of them under two labels; "
            f"{self.test_in_train:,} test pictures stand in the training folder too, "
            f"{self.held_out_in_train:,} held-out pictures in train"
        )
        reasons = {
            "copies of held-out or test pictures left out of train": self.dropped,
            "further copies within train": self.repeated,
            "copies of test pictures left out of validation and hold-out": self.held_out_dropped,
        }
        told = [f"{count:,} {what}" for what, count in reasons.items() if count]
        return "; ".join([text, *told])


@dataclass(frozen=True, eq=False)
class Copies:
    """Which pictures are left out because they are equal to others.

    Attributes:
        audit: The counts.
        left_out: For ``train``, ``validation`` and ``holdout`` a bool array, shape (n,).
    """

    audit: Audit
    left_out: Mapping[str, NDArray[np.bool_]]


def find_copies(
    splits: Mapping[str, Faces], test: Faces | None, classes: Sequence[str], duplicates: str
) -> Copies:
    """Count identical pictures, and choose which are left out for it.

    Args:
        splits: ``train``, ``validation`` and ``holdout``.
        test: The test set, where there is one; nothing is left out of it.
        classes: Class names in label order.
        duplicates: A name in `emotion_train.recipe.DUPLICATES`.
    """
    every = {**splits, **({"test": test} if test is not None else {})}
    prints = {split: faces.fingerprints() for split, faces in every.items()}
    groups: dict[bytes, list[tuple[str, int, str]]] = defaultdict(list)
    for split, faces in every.items():
        for one, label, name in zip(prints[split], faces.labels, faces.names, strict=True):
            groups[one].append((split, int(label), name))
    where = {one: {split for split, _, _ in group} for one, group in groups.items()}

    train = splits["train"]
    elsewhere = np.array([len(where[one]) > 1 for one in prints["train"]], np.bool_)
    again = _find_repeated(prints["train"], train.labels) & ~elsewhere
    left_out, kept = _choose_left_out(elsewhere, again, train.labels, classes, duplicates)
    of_splits = {"train": left_out}
    for split in ("validation", "holdout"):
        in_test = np.array(["test" in where[one] for one in prints[split]], np.bool_)
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
        repeated=int((left_out & again).sum()),
        held_out_dropped=int(of_splits["validation"].sum() + of_splits["holdout"].sum()),
        kept=kept,
        contradictory=tuple(_two_labels(group) for group in contradictory[:_EXAMPLES]),
    )
    return Copies(audit, of_splits)


def _choose_left_out(
    elsewhere: NDArray[np.bool_],
    again: NDArray[np.bool_],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    duplicates: str,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which training pictures are left out, and how many copies small classes keep."""
    if duplicates == KEEP_DUPLICATES:
        return np.zeros_like(elsewhere), {}
    if duplicates == DROP_HELD_OUT:
        return elsewhere, {}
    left_out, kept = elsewhere | again, {}
    for label, name in enumerate(classes):
        members = labels == label
        copies = int((left_out & members).sum())
        if copies and members.sum() - copies < FEWEST_DIFFERENT:
            kept[name] = copies
            left_out &= ~members
    return left_out, kept


def _keep_every_class(left_out: NDArray[np.bool_], labels: NDArray[np.int64]) -> None:
    """Leave nothing out of a class of which nothing would be left; changes `left_out`."""
    for label in np.unique(labels):
        members = labels == label
        if left_out[members].all():
            left_out[members] = False


def _find_repeated(prints: Sequence[bytes], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark pictures that an earlier one of the same class is equal to."""
    seen: set[tuple[bytes, int]] = set()
    repeated = np.zeros(len(prints), np.bool_)
    for place, one in enumerate(zip(prints, labels.tolist(), strict=True)):
        repeated[place] = one in seen
        seen.add(one)
    return repeated


def _two_labels(group: Sequence[tuple[str, int, str]]) -> tuple[str, str]:
    """Return the names of two pictures of a group that stand under two labels."""
    _, label, first = group[0]
    return first, next(name for _, other, name in group if other != label)
