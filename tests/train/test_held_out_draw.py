"""Held-out pictures are drawn by seed and name, so that they do not depend on other classes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from emotion_export.errors import ParityDataError
from emotion_export.int8.labelled_faces import read_labelled_faces
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.dataset import load_dataset
from emotion_train.data.held_out_draw import BY_NAME
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


@pytest.mark.parametrize("draw", [None, "place in the list of classes"])
def test_faces_of_a_checkpoint_with_an_unknown_draw_are_refused(
    data_folder: Path, draw: str | None
) -> None:
    """Another draw would count faces as held out that the network has learned."""
    recipe = Recipe(network="edge", classes=CLASSES, validation_per_class=5, holdout=0.1)
    known = Checkpoint(
        "edge", CLASSES, {}, training={"recipe": recipe.to_dict(), "held_out_draw": BY_NAME}
    )
    dataset = load_dataset(data_folder, validation_per_class=5, holdout=0.1)
    expected = (*dataset.validation.names, *dataset.holdout.names)
    assert read_labelled_faces(data_folder, known).held_out.names == expected
    unknown = replace(known, training={"recipe": recipe.to_dict(), "held_out_draw": draw})
    with pytest.raises(ParityDataError, match="does not record how its faces were split"):
        read_labelled_faces(data_folder, unknown)
