"""Which pictures are held out: drawn by a digest of seed and file name, or by place as before.

A picture's place in the draw of its class depends on the seed and its own name alone. Runs on other
lists of classes hold out the same faces, and a picture that is added changes few of them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.recipe import Recipe

BY_NAME = "sha256 of seed and name"
BY_PLACE = "place in the list of classes"  # of checkpoints that name no draw

TEST_SHARE = 0.15  # of data that have no splits


def order_by_name(faces: Faces, members: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the members of a class in the order in which they are held out."""
    return _sorted(faces, members, f"{seed}/")


def order_by_place(members: NDArray[np.int64], seed: int, label: int) -> NDArray[np.int64]:
    """Return the order of older versions, which depends on the class's place in the list."""
    return np.random.default_rng([seed, label]).permutation(members)


def draw_test(faces: Faces, classes: int) -> NDArray[np.bool_]:
    """Choose the test set of data that have no splits, the same for every seed.

    Args:
        faces: All faces.
        classes: How many classes there are.

    Returns:
        bool, shape (n,): a share of each class, at least one picture, and all of their copies.
    """
    chosen = np.zeros(len(faces), np.bool_)
    for label in range(classes):
        members = np.flatnonzero(faces.labels == label)
        count = max(1, round(TEST_SHARE * len(members)))
        chosen[_sorted(faces, members, "test/")[:count]] = True
    return with_copies(faces, chosen)


def with_copies(faces: Faces, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add to the chosen faces those that are equal to one of them in every pixel."""
    prints = faces.fingerprints()
    wanted = {prints[index] for index in np.flatnonzero(chosen)}
    return np.array([one in wanted for one in prints], np.bool_)


def held_out_alike(
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    drawn: Mapping[str, tuple[int, str]],
    recipe: Recipe,
) -> bool:
    """Return whether another run held the same pictures of the shared classes out of training.

    Args:
        training: What the other run's file says of its training.
        metrics: What it says that it was measured on; looked at where it names no held-out pictures
            by digest, as files of older versions do.
        drawn: The held-out pictures of this run, as in `Dataset.drawn`.
        recipe: Of this run.
    """
    known = training.get("held_out")
    if isinstance(known, dict):
        shared = known.keys() & drawn.keys()
        return bool(shared) and all(list(drawn[name]) == known[name] for name in shared)
    theirs = training.get("recipe")
    theirs = theirs if isinstance(theirs, dict) else {}
    choices = ("seed", "holdout", "validation_per_class")
    if training.get("held_out_draw") != BY_NAME or any(
        theirs.get(name) != getattr(recipe, name) for name in choices
    ):
        return False
    counts = _count_held_out(metrics)
    return all(counts[name] == drawn[name][0] for name in counts.keys() & drawn.keys())


def _count_held_out(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Return how many pictures of each class were held out, from the figures of a run."""
    metrics = metrics.get("float_network", metrics)  # of int8 files
    counts: Counter[str] = Counter()
    for split in ("hold-out", "validation"):
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            counts.update({name: row["support"] for name, row in metrics[split]["classes"].items()})
    return dict(counts)


def _sorted(faces: Faces, members: NDArray[np.int64], prefix: str) -> NDArray[np.int64]:
    def digest(member: np.int64) -> bytes:
        text = f"{prefix}{faces.names[member]}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return np.array(sorted(members, key=digest), np.int64)
