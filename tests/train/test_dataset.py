from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from emotion_train.data.balance import compute_balance, draw_copies
from emotion_train.data.dataset import load_dataset, load_recipe_dataset
from emotion_train.errors import DataError
from emotion_train.recipe import Recipe
from synthetic import write_data


def test_splits_are_disjoint_and_drawn_by_seed(data_folder: Path) -> None:
    dataset = load_dataset(data_folder, validation_per_class=46, holdout=0.25)
    assert dataset.validation.count_by_class(3).tolist() == [46, 46, 46]
    assert dataset.holdout.count_by_class(3).tolist() == [6, 4, 3]
    assert dataset.train.count_by_class(3).tolist() == [18, 10, 9]
    names = [*dataset.train.names, *dataset.validation.names, *dataset.holdout.names]
    assert len(set(names)) == len(names) == 188
    assert (
        load_dataset(data_folder, validation_per_class=46, holdout=0.25).digest()
        == dataset.digest()
    )
    assert (
        load_dataset(data_folder, validation_per_class=46, holdout=0.25, seed=1).digest()
        != dataset.digest()
    )


def test_copies_make_every_class_as_large_as_the_largest(data_folder: Path) -> None:
    train = load_dataset(data_folder, validation_per_class=46).train
    table = compute_balance(train, 3)
    assert table.total.tolist() == [24, 24, 24]
    assert table.copies.tolist() == [0, 10, 12]
    copies = draw_copies(table, np.random.default_rng(0))
    assert np.bincount(train.labels[copies], minlength=3).tolist() == [0, 10, 12]
    # 14 sad faces, 10 copies: no face has two copies
    assert len(set(copies[train.labels[copies] == 1])) == 10


def test_the_audit_finds_identical_pictures(tmp_path: Path) -> None:
    folder = write_data(tmp_path, train=(50, 50, 50), test=4)
    shutil.copy(folder / "train/happy/000.png", folder / "test/happy/copy.png")
    shutil.copy(folder / "train/sad/000.png", folder / "train/surprise/copy.png")
    audit = load_dataset(folder).audit
    assert audit.identical_groups == 2
    assert audit.contradictory_groups == 1
    assert audit.test_in_train == 1


def test_too_few_pictures_of_a_class_are_refused(tmp_path: Path) -> None:
    folder = write_data(tmp_path, train=(60, 46, 60))
    with pytest.raises(DataError, match="the class sad has 46 training pictures; more than 46"):
        load_dataset(folder, validation_per_class=46)
    assert len(load_dataset(folder, validation_per_class=10).validation) == 30
    for number in range(1, 46):
        (folder / f"train/sad/{number:03}.png").unlink()
    with pytest.raises(DataError, match="the class sad has 1 training picture; at least 2"):
        load_dataset(folder)


@pytest.mark.parametrize(("smallest", "held_out"), [(2, 1), (5, 1), (20, 3), (60, 9), (200, 30)])
def test_the_validation_share_follows_small_data(
    tmp_path: Path, smallest: int, held_out: int
) -> None:
    dataset = load_dataset(write_data(tmp_path, train=(smallest + 3, smallest, smallest), test=0))
    assert dataset.validation.count_by_class(3).tolist() == [held_out] * 3
    assert dataset.validation_per_class == held_out
    count = "1 picture" if held_out == 1 else f"{held_out} pictures"
    assert f"validation: {count} of each class (15% of the" in dataset.notes[-2]


def test_large_data_hold_out_46_of_each_class(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    rows = [
        f"{emotion},{' '.join([str(n % 256)] * 3 + [str(n // 256)])},Training"
        for emotion in (3, 4)
        for n in range(400)
    ]
    (tmp_path / "f.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    dataset = load_dataset(tmp_path / "f.csv", size=32)
    assert dataset.validation.count_by_class(2).tolist() == [46, 46]
    assert "validation: 46 pictures of each class, drawn" in dataset.notes[-2]


def test_a_single_class_or_a_repeated_one_is_refused(data_folder: Path) -> None:
    with pytest.raises(DataError, match="nothing to tell apart"):
        load_dataset(data_folder, classes=("happy",))
    with pytest.raises(DataError, match="twice"):
        load_dataset(data_folder, classes=("happy", "happy"))


@pytest.mark.parametrize(
    ("per_class", "share", "note"),
    [
        (1_499, 0.0, "hold-out: none by default of under 3,000 training pictures"),
        (1_600, 0.1, "hold-out: 0.1 of the rest of each class"),
    ],
)
def test_the_holdout_follows_the_size_of_the_data(
    tmp_path: Path, per_class: int, share: float, note: str
) -> None:
    rows = [
        f"{emotion},{' '.join([str(n % 256)] * 3 + [str(n // 256 + 9 * emotion)])},Training"
        for emotion in (3, 4)
        for n in range(per_class)
    ]
    (tmp_path / "f.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    dataset = load_dataset(tmp_path / "f.csv", size=32)
    assert dataset.holdout_share == share
    assert dataset.notes[-1].startswith(note)
    assert dataset.holdout.count_by_class(2).tolist() == [round(share * (per_class - 46))] * 2
    assert len(load_dataset(tmp_path / "f.csv", size=32, holdout=0.0).holdout) == 0


def test_a_recipe_loads_the_same_data_as_the_separate_arguments(data_folder: Path) -> None:
    recipe = Recipe(
        classes=("sad", "happy"), seed=4, validation_per_class=5, holdout=0.2, duplicates="keep"
    )
    one = load_recipe_dataset(data_folder, recipe)
    two = load_dataset(
        data_folder,
        classes=("sad", "happy"),
        seed=4,
        validation_per_class=5,
        holdout=0.2,
        duplicates="keep",
    )
    assert one.digest() == two.digest()
