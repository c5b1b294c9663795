from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from emotion_runtime import read_face
from emotion_train.data.readers import read_source
from emotion_train.errors import DataError
from synthetic import CLASSES, band_face, pixels_text, save_face, write_csv, write_data


def test_training_reads_pictures_as_the_runtime_does(tmp_path: Path) -> None:
    """Training and inference have the same preprocessing for all pictures."""
    write_data(tmp_path, train=(1, 1, 1), test=0)
    save_face(tmp_path / "train" / "happy" / "large.png", 0, size=200)
    source = read_source(tmp_path, CLASSES)
    for name, pixels in zip(
        source.splits["train"].names, source.splits["train"].pixels, strict=True
    ):
        np.testing.assert_array_equal(pixels, read_face(tmp_path / name))


def test_classes_keep_the_given_order(tmp_path: Path) -> None:
    write_data(tmp_path, train=(1, 2, 3), test=1)
    source = read_source(tmp_path, ("surprise", "happy"))
    assert source.classes == ("surprise", "happy")
    assert source.splits["train"].count_by_class(2).tolist() == [3, 1]
    assert read_source(tmp_path, ("all",)).classes == ("happy", "sad", "surprise")


def test_the_challenge_csv_plain_and_gzip(tmp_path: Path) -> None:
    faces = {3: band_face(0), 4: band_face(1), 5: band_face(2)}  # happy, sad, surprise
    rows = [
        (str(emotion), pixels_text(face), usage)
        for usage in ("Training", "PublicTest", "PrivateTest")
        for emotion, face in faces.items()
    ]
    plain = write_csv(tmp_path / "fer2013.csv", rows)
    packed = tmp_path / "fer2013.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        splits = read_source(path, CLASSES).splits
        assert splits["train"].labels.tolist() == [0, 1, 2]
        assert splits["test"].count_by_class(3).tolist() == [2, 2, 2]
        np.testing.assert_array_equal(splits["train"].pixels, np.stack(list(faces.values())))


def test_bad_rows_are_listed_and_left_out(tmp_path: Path) -> None:
    whole = pixels_text(band_face(0))
    rows = [
        ("3", whole, "Training"),
        ("4", whole, "Training"),
        ("3", "1 2 3", "Training"),
        ("3", "a b c d", "Training"),
        ("3", "300 1 1 1", "Training"),
        ("x", whole, "Training"),
        ("3", whole, "Never"),
    ]
    source = read_source(write_csv(tmp_path / "f.csv", rows), ("happy", "sad"))
    assert len(source.splits["train"]) == 2
    assert len(source.skipped) == 5
    assert all("row" in line for line in source.skipped)


def test_a_damaged_picture_is_listed_and_left_out(tmp_path: Path) -> None:
    write_data(tmp_path, train=(2, 2, 2), test=0)
    bad = tmp_path / "train" / "sad" / "000.png"
    bad.write_bytes(bad.read_bytes()[:100])
    source = read_source(tmp_path, CLASSES)
    assert source.splits["train"].count_by_class(3).tolist() == [2, 1, 2]
    assert "000.png" in source.skipped[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "no such folder"),
        (lambda folder: folder, "has no class folders; expected"),
        (lambda folder: _touch(folder / "d" / "train"), "no folder for the class happy, sad"),
        (lambda folder: _class_without_pictures(folder), "no readable picture of sad"),
        (lambda folder: write_csv(folder / "empty.csv", []), "no readable picture"),
        (
            lambda folder: _text(folder / "x.csv"),
            "columns path, label and perhaps split, or FER2013's emotion, pixels, Usage",
        ),
    ],
)
def test_unusable_data_are_refused_in_one_sentence(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        read_source(make(tmp_path), CLASSES)


def _touch(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder.parent


def _class_without_pictures(folder: Path) -> Path:
    write_data(folder, train=(1, 1, 1))
    (folder / "train" / "sad" / "000.png").unlink()
    return folder


def _text(path: Path) -> Path:
    path.write_text("hello\n")
    return path
