"""Held-out pictures are drawn by seed and name, so that they do not depend on other classes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion_export.int8.labelled_faces import read_labelled_faces
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.dataset import load_dataset
from emotion_train.data.held_out_draw import BY_NAME, BY_PLACE
from emotion_train.errors import DataError
from emotion_train.recipe import Recipe
from synthetic import CLASSES, save_face, write_data


def test_the_draw_is_sorted_by_a_digest_of_seed_and_name(data_folder: Path) -> None:
    dataset = load_dataset(data_folder, seed=3, validation_per_class=5, holdout=0.1)
    names = [f"train/sad/{n:03}.png" for n in range(60)]
    order = sorted(names, key=lambda name: hashlib.sha256(f"3/{name}".encode()).digest())
    drawn = [
        {name for name in faces.names if "/sad/" in name}
        for faces in (dataset.validation, dataset.holdout, dataset.train)
    ]
    assert drawn == [set(order[:5]), set(order[5:11]), set(order[11:])]


def test_other_lists_of_classes_hold_out_the_same_faces(data_folder: Path) -> None:
    three = load_dataset(data_folder, validation_per_class=9, holdout=0.2)
    two = load_dataset(
        data_folder, classes=("surprise", "sad"), validation_per_class=9, holdout=0.2
    )
    for name in ("validation", "holdout"):
        both = [{n for n in getattr(one, name).names if "/happy/" not in n} for one in (three, two)]
        assert both[0] == both[1]


def test_one_more_picture_changes_the_split_of_at_most_one_other(tmp_path: Path) -> None:
    data = write_data(tmp_path, (40, 40, 40), 0)
    before = set(load_dataset(data, validation_per_class=10).validation.names)
    save_face(data / "train" / "sad" / "new.png", 1, 77)
    after = set(load_dataset(data, validation_per_class=10).validation.names)
    assert len(before - after) <= 1


def test_the_splits_of_older_checkpoints_are_reproduced(data_folder: Path) -> None:
    dataset = load_dataset(data_folder, validation_per_class=5, holdout=0.1, draw=BY_PLACE)
    members = np.arange(70, 130)  # sad, after 70 happy faces
    drawn = np.random.default_rng([0, 1]).permutation(members) - 70
    expected = {f"train/sad/{n:03}.png" for n in drawn[:5]}
    assert {name for name in dataset.validation.names if "/sad/" in name} == expected
    with pytest.raises(DataError, match="does not know"):
        load_dataset(data_folder, draw="by the moon")


def test_int8_uses_the_draw_of_the_checkpoint(data_folder: Path) -> None:
    recipe = Recipe(network="edge", classes=CLASSES, validation_per_class=5, holdout=0.1)
    old = Checkpoint("edge", CLASSES, {}, training={"recipe": recipe.to_dict()})
    new = replace(old, training={**old.training, "held_out_draw": BY_NAME})
    for checkpoint, draw in ((old, BY_PLACE), (new, BY_NAME)):
        faces = read_labelled_faces(data_folder, checkpoint)
        dataset = load_dataset(data_folder, validation_per_class=5, holdout=0.1, draw=draw)
        expected = (*dataset.validation.names, *dataset.holdout.names)
        assert faces.held_out.names == expected


def test_data_that_an_older_version_could_not_read_are_refused_for_its_checkpoints(
    tmp_path: Path,
) -> None:
    data = write_data(tmp_path, (8, 8, 8), 0)
    save_face(data / "train" / "sad" / "more" / "a.png", 1, 99)
    with pytest.raises(DataError, match="has 1 picture in sub-folders, which the emotion-edge"):
        load_dataset(data, validation_per_class=2, draw=BY_PLACE)
    with pytest.raises(DataError, match="has no folder 'train', which"):
        load_dataset(data / "train", validation_per_class=2, draw=BY_PLACE)
