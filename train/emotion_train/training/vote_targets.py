"""Training with annotators' votes: which pictures to use, their targets and soft labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from emotion_runtime.prediction import format_count
from emotion_train.data.checks import require_every_class
from emotion_train.data.dataset import Dataset
from emotion_train.data.source import VOTED_OUT
from emotion_train.data.votes import SoftLabels, Votes
from emotion_train.errors import RunError
from emotion_train.recipe import Recipe
from emotion_train.training.targets import Targets, make_label_targets, mix_targets


def leave_out_unusable(
    dataset: Dataset, votes: Votes, recipe: Recipe, tell: Callable[[str], None]
) -> Dataset:
    """Return the dataset without training pictures that most annotators could not use.

    Args:
        dataset: The splits.
        votes: The votes.
        recipe: The recipe; with a `vote_weight` of 0 all pictures stay.
        tell: Receives messages about pictures and votes that are not used.

    Raises:
        DataError: A class has no picture left, or none of the pictures is in the votes file.
    """
    if votes.other_columns:
        tell(
            f"votes: the columns {', '.join(votes.other_columns)} are counted as votes for "
            f"something other than the classes"
        )
    splits = (dataset.train, dataset.validation, dataset.holdout, dataset.test)
    votes.require_some(*(faces for faces in splits if faces is not None))
    if recipe.vote_weight:
        dataset = _leave_out_of_train(dataset, votes, tell)
    if dataset.test is not None and not votes.find_listed(dataset.test).all():
        listed = int(votes.find_listed(dataset.test).sum())
        tell(
            f"votes: {listed:,} of {len(dataset.test):,} test pictures are listed"
            + ("" if listed else "; the test accuracy is that against the labels alone")
        )
    return dataset


def _leave_out_of_train(dataset: Dataset, votes: Votes, tell: Callable[[str], None]) -> Dataset:
    train = dataset.train
    unlisted = int((~votes.find_listed(train)).sum())
    is_usable = votes.find_usable(train)
    tell(f"left out by votes: {format_count(int((~is_usable).sum()), 'picture')}")
    if unlisted:
        tell(
            f"votes: {unlisted:,} of {len(train):,} training pictures are not listed; they are "
            f"learned from their label alone"
        )
    names = (dataset.classes[label] for label in train.labels[~is_usable])
    dataset = replace(
        dataset,
        train=train.take(np.flatnonzero(is_usable)),
        inventory=dataset.inventory.leave_out(names, VOTED_OUT),
    )
    require_every_class(dataset.train, dataset.classes, "those that --votes takes away")
    total, dropped = votes.count_dropped(dataset.train)
    if dropped:
        counts = ", ".join(f"{name} {count:,}" for name, count in dropped.items())
        tell(
            f"votes: {sum(dropped.values()):,} of {total:,} on the training pictures are "
            f"for none of the classes ({counts}) and are left out; the others of each "
            f"picture are scaled to add up to 1"
        )
    return dataset


def make_vote_targets(dataset: Dataset, recipe: Recipe, votes: Votes | None) -> Targets | None:
    """Return the targets from labels and votes; None to train on labels alone.

    Raises:
        RunError: The recipe needs votes, and there are none.
    """
    if not recipe.vote_weight:
        return None
    if votes is None:
        raise RunError("the recipe learns from votes; name their file with --votes.")
    labels = make_label_targets(dataset.train, len(dataset.classes))
    return mix_targets(labels, votes.compute_targets(dataset.train), recipe.vote_weight)


def make_held_out_soft_labels(
    dataset: Dataset, recipe: Recipe, votes: Votes | None, tell: Callable[[str], None]
) -> dict[str, SoftLabels]:
    """Return the soft labels of ``validation`` and ``holdout``; empty to train on labels alone.

    Args:
        dataset: The splits.
        recipe: The recipe.
        votes: The votes.
        tell: Receives a message about the use of the votes.
    """
    if not recipe.vote_weight or votes is None:
        return {}
    held_out = {"validation": dataset.validation, "holdout": dataset.holdout}
    soft_labels = {
        name: votes.make_soft_labels(faces, len(dataset.classes))
        for name, faces in held_out.items()
        if len(faces)
    }
    pictures = sum(len(one.targets) for one in soft_labels.values())
    fallback = sum(one.fallback for one in soft_labels.values())
    tell(
        f"votes: they choose the epoch, temperature and threshold, on {pictures:,} held-out "
        f"pictures" + (f"; {fallback:,} without usable votes count by label" if fallback else "")
    )
    return soft_labels
