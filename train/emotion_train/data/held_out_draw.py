"""The draw of held-out pictures: by a digest of seed and file name.

The rank of a picture within its class depends on the seed and its own name alone. Runs on other
lists of classes hold out the same pictures, and an added picture changes few of them.
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

TEST_SHARE = 0.15  # of each class, in data without splits


def order_by_name(faces: Faces, members: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the faces of a class, given by index, in the order in which they are held out."""
    return _sort_by_digest(faces, members, f"{seed}/")


def names_held_out(training: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint's ``training`` names a draw that this version can repeat.

    Without it another draw would be guessed, and pictures that the network has learned would be
    counted as held out.
    """
    return training.get("held_out_draw") == BY_NAME


def draw_test(faces: Faces, classes: int) -> NDArray[np.bool_]:
    """Return the test set of data without splits, the same for every seed.

    Args:
        faces: All faces.
        classes: Number of classes.

    Returns:
        bool, shape (n,): 15 % of each class, at least one picture, and all copies of these.
    """
    chosen = np.zeros(len(faces), np.bool_)
    for label in range(classes):
        members = np.flatnonzero(faces.labels == label)
        count = max(1, round(TEST_SHARE * len(members)))
        chosen[_sort_by_digest(faces, members, "test/")[:count]] = True
    return add_copies(faces, chosen)


def add_copies(faces: Faces, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the chosen faces, bool (n,), together with all faces of equal pixels."""
    hashes = faces.hash_pixels()
    wanted = {hashes[index] for index in np.flatnonzero(chosen)}
    return np.array([one in wanted for one in hashes], np.bool_)


def has_same_held_out(
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    drawn: Mapping[str, tuple[int, str]],
    recipe: Recipe,
) -> bool:
    """Return whether another run held out the same pictures of the classes that both have.

    Args:
        training: The part ``training`` of the other run's file.
        metrics: Its part ``metrics``, used for files of older versions without digests of the
            held-out pictures.
        drawn: The held-out pictures of this run, as in `Dataset.drawn`.
        recipe: The recipe of this run.
    """
    known = training.get("held_out")
    if isinstance(known, dict):
        shared = known.keys() & drawn.keys()
        return bool(shared) and all(list(drawn[name]) == known[name] for name in shared)
    theirs = training.get("recipe")
    theirs = theirs if isinstance(theirs, dict) else {}
    choices = ("seed", "holdout", "validation_per_class")
    if not names_held_out(training) or any(
        theirs.get(name) != getattr(recipe, name) for name in choices
    ):
        return False
    counts = _count_held_out(metrics)
    return all(counts[name] == drawn[name][0] for name in counts.keys() & drawn.keys())


def _count_held_out(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of held-out pictures of each class, from the metrics of a run."""
    metrics = metrics.get("float_network", metrics)  # of int8 files
    counts: Counter[str] = Counter()
    for split in ("hold-out", "validation"):
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            counts.update({name: row["support"] for name, row in metrics[split]["classes"].items()})
    return dict(counts)


def _sort_by_digest(faces: Faces, members: NDArray[np.int64], prefix: str) -> NDArray[np.int64]:
    def digest(member: np.int64) -> bytes:
        text = f"{prefix}{faces.names[member]}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return np.array(sorted(members, key=digest), np.int64)
