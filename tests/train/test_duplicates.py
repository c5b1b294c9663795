"""Identical pictures: none is both trained and evaluated on, and all are reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from emotion_train.average import _find_shared_recipe
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.checks import list_warnings
from emotion_train.data.dataset import Dataset, load_dataset
from emotion_train.data.duplicates import Audit
from emotion_train.data.held_out_draw import BY_NAME
from emotion_train.recipe import (
    DROP_DUPLICATES,
    DROP_HELD_OUT,
    KEEP_DUPLICATES,
    Recipe,
    read_duplicates,
)
from synthetic import CLASSES, save_face, write_data

Train = Callable[..., Result]


def copy(source: Path, *targets: str) -> None:
    for name in targets:
        shutil.copy(source, source.with_name(name))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pictures a class, two further copies, two of test in train, one with two labels."""
    folder = write_data(tmp_path / "d", train=(20, 20, 20), test=4)
    copy(folder / "train" / "happy" / "000.png", "x1.png", "x2.png")
    for number in range(2):
        name = f"{number:03}.png"
        shutil.copy(folder / "test" / "sad" / name, folder / "train" / "sad" / f"t{name}")
    shutil.copy(folder / "train" / "sad" / "007.png", folder / "train" / "surprise" / "y.png")
    return folder


def names(dataset: Dataset) -> set[str]:
    return set(dataset.train.names)


def own_validation(data: Path) -> Path:
    """Add a validation set to the data, so that none is drawn from train."""
    for label, name in enumerate(CLASSES):
        save_face(data / "val" / name / "v.png", label, 700)
    return data


def test_copies_of_test_leave_train_and_others_count_once(data: Path) -> None:
    dataset = load_dataset(own_validation(data))
    assert dataset.train.count_by_class(3).tolist() == [20, 20, 21]
    assert "train/happy/000.png" in names(dataset)
    assert not names(dataset) & {"train/happy/x1.png", "train/happy/x2.png", "train/sad/t000.png"}
    # The right one of two labels is not known: both copies stay, with a warning.
    assert {"train/sad/007.png", "train/surprise/y.png"} <= names(dataset)
    assert dataset.audit.dropped == dataset.audit.repeated == 2
    assert str(dataset.audit) == (
        "audit: 4 groups of identical pictures, 1 of them under two labels; 2 test pictures "
        "with a copy in the training folder, 0 held-out pictures with a copy in train; 2 copies of "
        "held-out or test pictures left out of train; 2 further copies within train"
    )
    (warning,) = list_warnings(dataset)
    assert warning == (
        "in more than one class: 1 picture, such as train/sad/007.png and train/surprise/y.png"
    )
    assert dataset.inventory.left_out["happy", "duplicate"] == 2


def test_counts_of_one_are_singular() -> None:
    audit = Audit(1, 0, test_in_train=1, held_out_in_train=2, dropped=1, repeated=1)
    assert str(audit) == (
        "audit: 1 group of identical pictures, 0 of them under two labels; 1 test picture with a "
        "copy in the training folder, 2 held-out pictures with a copy in train; 1 copy of held-out "
        "or test pictures left out of train; 1 further copy within train"
    )


def test_keeping_copies_warns_that_figures_are_too_good(data: Path) -> None:
    dataset = load_dataset(own_validation(data), duplicates=KEEP_DUPLICATES)
    assert dataset.train.count_by_class(3).tolist() == [22, 22, 21]
    assert "left out" not in str(dataset.audit)
    assert "2 of 12 test pictures are in train too" in list_warnings(dataset)[-1]


def test_older_checkpoints_keep_copies_within_train(data: Path) -> None:
    dataset = load_dataset(own_validation(data), duplicates=DROP_HELD_OUT)
    assert dataset.train.count_by_class(3).tolist() == [22, 20, 21]


def test_a_held_out_picture_leaves_no_copy_in_train(tmp_path: Path) -> None:
    folder = write_data(tmp_path, train=(30, 30, 30), test=0)
    for number in range(30):
        copy(folder / "train" / "happy" / f"{number:03}.png", f"c{number:03}.png")
    dataset = load_dataset(folder, validation_per_class=10, holdout=0.1)
    learned = set(dataset.train.hash_pixels())
    held_out = [*dataset.validation.hash_pixels(), *dataset.holdout.hash_pixels()]
    assert not learned & set(held_out)
    assert len(learned) == len(dataset.train)


def test_held_out_pictures_that_are_in_test_are_left_out(tmp_path: Path) -> None:
    folder = write_data(tmp_path, train=(20, 20, 20), test=4)
    for number in range(20):
        name = f"{number:03}.png"
        shutil.copy(folder / "train" / "sad" / name, folder / "test" / "sad" / f"c{name}")
    save_face(folder / "train" / "sad" / "other.png", 1, 900)
    for number in range(20):
        save_face(folder / "train" / "sad" / f"more{number}.png", 1, 1000 + number)
    dataset = load_dataset(folder, validation_per_class=9)
    assert dataset.test is not None
    assert dataset.audit.held_out_dropped == 9 - dataset.validation.count_by_class(3)[1] > 0
    assert not set(dataset.validation.hash_pixels()) & set(dataset.test.hash_pixels())
    assert "copies of test pictures left out of validation and hold-out" in str(dataset.audit)
    kept = load_dataset(folder, validation_per_class=9, duplicates=KEEP_DUPLICATES)
    assert any("validation and hold-out pictures are in test too" in w for w in list_warnings(kept))
    # Runs with the same draw are recognised by it, whatever is left out afterwards.
    assert kept.drawn == dataset.drawn


def test_a_class_that_would_be_too_small_keeps_its_copies(tmp_path: Path) -> None:
    folder = write_data(tmp_path, train=(20, 20, 20), test=2)
    for number in range(17):
        name = f"{number:03}.png"
        shutil.copy(folder / "train" / "sad" / name, folder / "test" / "sad" / f"c{name}")
    dataset = load_dataset(own_validation(folder))
    assert dataset.train.count_by_class(3).tolist() == [20, 20, 20]
    assert dataset.audit.kept == {"sad": 17}
    told = list_warnings(dataset)
    assert told[0].startswith("17 training pictures of sad are copies of held-out pictures or of")
    assert "kept in train, since fewer than 5 others would be left" in told[0]
    assert told[1] == "17 of 23 test pictures are in train too: figures on them are too good"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"drop_duplicates": True}, DROP_HELD_OUT),
        ({"drop_duplicates": False}, KEEP_DUPLICATES),
        ({}, KEEP_DUPLICATES),
        ({"duplicates": DROP_DUPLICATES}, DROP_DUPLICATES),
    ],
)
def test_recipes_of_older_versions_keep_their_meaning(
    values: dict[str, object], expected: str
) -> None:
    assert read_duplicates(values) == expected
    recipe = Recipe.from_dict({"classes": ["a", "b"], **values})
    assert recipe.duplicates == expected
    assert recipe.holdout == 0.0  # older versions did not depend on the data
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_an_unknown_choice_is_refused() -> None:
    for values in ({"duplicates": "some"}, {"drop_duplicates": "yes"}, {"holdout": "x"}):
        with pytest.raises(ValueError, match="has a value that no run can have"):
            Recipe.from_dict({"classes": ["a", "b"], **values})


def test_an_average_of_old_and_new_runs_holds_out_the_pictures_of_all() -> None:
    recipe = {**Recipe(holdout=0.1).to_dict(), "augmentation": "none"}
    old = {key: value for key, value in recipe.items() if key != "duplicates"}
    old["drop_duplicates"] = True
    checkpoints = [
        Checkpoint("edge", CLASSES, {}, training={"recipe": one, "held_out_draw": BY_NAME})
        for one in (recipe, old)
    ]
    runs = [Path("a"), Path("b")]
    assert _find_shared_recipe(runs, checkpoints)["duplicates"] == KEEP_DUPLICATES
    assert _find_shared_recipe(runs, checkpoints[1:] * 2)["duplicates"] == DROP_HELD_OUT


def test_the_old_option_is_accepted_with_a_note(train: Train, data: Path, tmp_path: Path) -> None:
    short = ("--epochs", "1", "--network", "edge", "--augmentation", "none", "--no-test")
    result = train(data, "-o", tmp_path / "run", "--drop-duplicates", *short)
    assert result.exit_code == 0, result.output
    assert "--drop-duplicates: copies of held-out and test pictures leave train by" in result.stderr
    assert "further copies within train" in result.stdout
    for flag, code in (("--drop-duplicates", 0), ("--keep-duplicates", 2)):
        again = train(data, "-o", tmp_path / "run", "--resume", flag)
        assert again.exit_code == code, again.output
    both = train(data, "-o", tmp_path / "r", "--keep-duplicates", "--drop-duplicates")
    assert both.exit_code == 2
    assert "choose one" in both.stderr
