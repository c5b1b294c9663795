"""Layouts of data: each is read, or refused in one sentence with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.checks import list_warnings
from emotion_train.data.dataset import Dataset, load_dataset
from emotion_train.data.readers import read_other_classes, read_source
from emotion_train.data.table import format_data_table
from emotion_train.errors import DataError
from synthetic import CLASSES, band_face, pixels_text, save_face, write_csv, write_data

Train = Callable[..., Result]
SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
TWO = ("cat", "dog")


def write_flat(
    folder: Path, counts: tuple[int, ...] = (20, 20), classes: tuple[str, ...] = TWO
) -> Path:
    for label, (name, count) in enumerate(zip(classes, counts, strict=True)):
        for number in range(count):
            save_face(folder / name / f"{number:03}.png", label, number)
    return folder


def test_the_classes_are_the_folders_except_for_fer2013(tmp_path: Path) -> None:
    own = write_data(tmp_path / "own", (1, 1), 0, ("zebra", "ape"))
    assert read_source(own).classes == ("ape", "zebra")
    seven = write_data(tmp_path / "seven", (1,) * 7, 0, SEVEN)
    source = read_source(seven)
    assert source.classes == CLASSES
    assert (
        "not used: angry, disgust, fear, neutral; --classes all uses every class"
        in (source.notes[-1])
    )
    assert source.inventory.other_classes["fear"] == 1
    assert read_source(seven, ("all",)).classes == SEVEN
    save_face(seven / "train" / "contempt" / "a.png", 0)
    assert read_source(seven).classes == tuple(sorted((*SEVEN, "contempt")))


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_a_validation_folder_is_the_validation_set(tmp_path: Path, name: str) -> None:
    data = write_data(tmp_path, (9, 9), 2, TWO)
    for label, kind in enumerate(TWO):
        save_face(data / name / kind / "v.png", label, 500)
    dataset = load_dataset(data, holdout=0.25)
    assert dataset.validation.names == (f"{name}/cat/v.png", f"{name}/dog/v.png")
    assert dataset.validation_per_class == 0
    assert dataset.train.count_by_class(2).tolist() == [7, 7]  # only the hold-out is drawn
    with pytest.raises(DataError, match="has a validation set of its own, 2 pictures; leave"):
        load_dataset(data, validation_per_class=3)
    shutil.rmtree(data / name)
    with pytest.raises(DataError, match="has no validation set, and the run was trained with one"):
        load_dataset(data, validation_per_class=0)


@pytest.mark.slow
def test_a_validation_folder_outside_of_the_data(tmp_path: Path, train: Train) -> None:
    data = write_data(tmp_path / "d", (9, 9), 1, TWO)
    other = write_flat(tmp_path / "elsewhere", (3, 3))
    arguments = ("--epochs", "1", "--network", "edge", "--augmentation", "none", "--val", other)
    result = train(data, "-o", tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.output
    assert "validation: 6 pictures of the data's own validation set" in result.stderr
    assert load_checkpoint(tmp_path / "run").metrics["validation"]["pictures"] == 6
    again = train(data, "-o", tmp_path / "run", "--resume")
    assert again.exit_code == 0, again.output
    for folder, message in (
        (tmp_path / "gone", "no such folder; --val takes"),
        (data / "train", "is a split of"),
    ):
        with pytest.raises(DataError, match=message):
            load_dataset(data, validation=folder)
    with pytest.raises(DataError, match="whose folders are classes; move it out"):
        load_dataset(other, validation=other / "cat")
    with pytest.raises(DataError, match="cat: validation: it has no picture of the classes"):
        load_dataset(data, validation=other / "cat")


def test_class_folders_without_splits_are_split_reproducibly(tmp_path: Path) -> None:
    data = write_flat(tmp_path / "d", (40, 20))
    first = load_dataset(data)
    assert first.test is not None
    assert first.test.count_by_class(2).tolist() == [6, 3]  # 15 %
    assert first.validation.count_by_class(2).tolist() == [
        3,
        3,
    ]  # 15 % of the 17 dogs that are left
    assert first.train.count_by_class(2).tolist() == [31, 14]
    assert "test: 9 pictures, 15% of each class, drawn by their file names" in first.notes[-3]
    other = load_dataset(data, seed=5)
    assert other.test is not None
    assert other.test.names == first.test.names  # the test set does not depend on the seed
    assert other.validation.names != first.validation.names
    assert load_dataset(shutil.copytree(data, tmp_path / "e")).digest() == first.digest()


def test_copies_are_in_the_same_part_of_an_automatic_split(tmp_path: Path) -> None:
    data = write_flat(tmp_path, (30, 30))
    for number in range(30):
        shutil.copy(data / "cat" / f"{number:03}.png", data / "cat" / f"copy{number}.png")
    for number in range(10):  # with another label too
        shutil.copy(data / "cat" / f"{number:03}.png", data / "dog" / f"copy{number}.png")
    for seed in range(3):
        dataset = load_dataset(data, holdout=0.2, seed=seed, duplicates="keep")
        assert dataset.audit.identical_groups == 30
        assert dataset.audit.test_in_train == dataset.audit.held_out_in_train == 0
        prints = [
            set(faces.hash_pixels()) for faces in (dataset.validation, dataset.holdout) if faces
        ]
        assert not prints[0] & prints[1]
        assert sum(len(faces) for faces in splits_of(dataset)) == 100


def test_folders_without_pictures_are_no_classes_and_runs_are_written_outside(
    tmp_path: Path, train: Train
) -> None:
    data = write_flat(tmp_path / "d", (8, 8))
    (data / "scripts").mkdir()
    (data / "scripts" / "a.py").touch()
    save_face(data / "loose.png", 0)
    source = read_source(data)
    assert source.classes == TWO
    assert source.passed_over == (
        "d: 1 picture in no class folder",
        "scripts: a folder without pictures",
    )
    result = train(data, "-o", data / "runs" / "first")
    assert result.exit_code == 1
    assert "whose folders are classes; name another folder with -o" in result.stderr
    assert not (data / "runs").exists()


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    data = write_flat(tmp_path / "d", (8, 8))
    (data / "dog").rename(tmp_path / "elsewhere")
    (data / "dog").mkdir()
    (data / "dog" / "part").symlink_to(tmp_path / "elsewhere")
    source = read_source(data)
    assert source.classes == TWO
    assert source.splits["train"].count_by_class(2).tolist() == [8, 8]


def test_held_out_pictures_in_train_cause_a_warning(tmp_path: Path) -> None:
    data = write_flat(tmp_path / "d", (20, 20))
    other = write_flat(tmp_path / "elsewhere", (3, 3))  # the first pictures of each class
    dataset = load_dataset(data, validation=other, duplicates="keep")
    (warning,) = list_warnings(dataset)
    known = dataset.audit.held_out_in_train
    assert 0 < known <= 6
    assert warning.startswith(f"{known} of 6 validation pictures are in train too")
    assert list_warnings(load_dataset(data, validation=other)) == []


def splits_of(dataset: Dataset) -> list[object]:
    found = [dataset.train, dataset.validation, dataset.holdout, dataset.test]
    return [faces for faces in found if faces is not None]


@pytest.mark.parametrize("flat", [True, False])
def test_sub_folders_of_a_class_are_read(tmp_path: Path, flat: bool) -> None:
    top = tmp_path if flat else tmp_path / "train"
    write_flat(top, (4, 4))
    save_face(top / "dog" / "batch 2" / "deep" / "x.png", 1, 99)
    source = read_source(tmp_path)
    assert source.is_flat == flat
    assert source.splits["train"].count_by_class(2).tolist() == [4, 5]
    assert f"{'' if flat else 'train/'}dog/batch 2/deep/x.png" in source.splits["train"].names
    assert source.passed_over == ()


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/a.png", "bus/b.png"], "holds 1 picture and no class folders, with bus beside"),
        (["test/cat/a.png", "dog/b.png"], "has test, with dog beside it, but no folder 'train'"),
        (["train/cat/a.png", "Training/cat/b.png"], "both Training and train could be the train"),
        (["archive/train/cat/a.png"], "has one folder, archive, which holds train; name"),
        (["cat/train/a.png", "cat/test/a.png", "dog/b.png"], "a class folder that holds test, tra"),
        (["a.png"], "has no class folders; expected"),
        (["cat/a.png"], "no readable picture of cat|one class"),
    ],
)
def test_ambiguous_folders_are_refused(tmp_path: Path, paths: list[str], message: str) -> None:
    for number, path in enumerate(paths):
        save_face(tmp_path / path, 0, number)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


@pytest.mark.slow
def test_the_table_accounts_for_every_file(tmp_path: Path, train: Train) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 3, ("a b", "猫", "x,y"))
    (data / "train" / "猫" / "notes.txt").touch()
    (data / "train" / "a b" / "000.png").write_bytes(b"no")
    shutil.copy(data / "test" / "x,y" / "000.png", data / "train" / "x,y" / "copy.png")
    save_face(data / "train" / "other one" / "a.png", 0)
    arguments = ["--class", "x,y", "--class", "a b", "--class", "猫"]
    arguments += ["--epochs", "1", "--network", "edge", "--augmentation", "none", "--seed", "1"]
    result = train(data, "-o", tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "run").labels == ("x,y", "a b", "猫")
    lines = result.stdout.splitlines()
    assert lines[0].split()[:5] == ["class", "found", "train", "validation", "test"]
    assert lines[0].endswith("no picture  unreadable  duplicate")
    assert lines[5].split() == ["other", "one", "(not", "used)", "1"]
    for name, line in zip(("x,y", "a b", "猫", "total"), lines[1:5], strict=True):
        found, *used = (int(cell) for cell in line.removeprefix(name).split())
        assert found == sum(used), line
    assert lines[4].split()[1] == "47"
    resumed = train(data, "-o", tmp_path / "run", "--resume", "--class", "x,y", "--class", "猫")
    assert resumed.exit_code == 2
    assert "has classes" in resumed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--classes", "a,b", "--class", "c"), "use one of them"),
        (("--class", "a"), "names one class"),
        (("--class", "a", "--class", "error"), "--class: no class may be named 'error'"),
        (("--freeze", "features"), "--freeze needs --start-from"),
        (("--freeze", "some"), "neither none, features nor a number"),
    ],
)
def test_contradicting_options_are_wrong_usage(
    train: Train, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = train(tmp_path, "-o", tmp_path / "run", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def write_list(folder: Path, header: str, lines: list[str]) -> Path:
    for label, name in enumerate(TWO):
        for number in range(8):
            save_face(folder / "pictures" / f"{name}{number}.png", label, number)
    path = folder / "list.csv"
    path.write_text("\ufeff" + "\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def rows(split: str, numbers: range, separator: str = ",") -> list[str]:
    return [
        separator.join([f"pictures/{name}{n}.png", name, *([split] if split else [])])
        for name in TWO
        for n in numbers
    ]


def test_a_csv_of_paths_labels_and_splits(tmp_path: Path) -> None:
    lines = rows("Train", range(5)) + rows("val", range(5, 6)) + rows(" test", range(6, 8))
    lines += ["pictures/gone.png,cat,train", "pictures/cat0.png,cat,train", "pictures/x.png,cat,?"]
    lines += ["pictures/cat0.png", "elsewhere/c.png,cow,train"]
    path = write_list(tmp_path, " Path ,LABEL,Split", lines)
    with pytest.raises(DataError, match="no readable picture of cow"):
        read_source(path)
    source = read_source(path, TWO)
    assert {split: len(faces) for split, faces in source.splits.items()} == {
        "train": 10,
        "validation": 2,
        "test": 4,
    }
    assert source.splits["test"].names[0] == "pictures/cat6.png"
    assert source.passed_over == (
        "1 row without a path, a label or a split (such as line 21)",
        "1 row of an unknown split ('?' 1); known are train, val and test",
        "rows of classes that are not trained on (cow 1)",
        "1 row that lists a file once more",
        f"1 of 17 files that are listed do not exist in {tmp_path} (such as pictures/gone.png)",
    )
    dataset = load_dataset(path, classes=TWO)
    assert format_data_table(dataset).splitlines()[1].split() == [
        "cat",
        "10",
        "5",
        "1",
        "2",
        "1",
        "1",
    ]
    assert "missing  repeated" in format_data_table(dataset)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_without_splits_is_split(tmp_path: Path, separator: str) -> None:
    path = write_list(tmp_path, separator.join(["path", "label"]), rows("", range(8), separator))
    dataset = load_dataset(path)
    assert dataset.classes == TWO
    assert dataset.test is not None
    assert [len(f) for f in (dataset.train, dataset.validation, dataset.test)] == [12, 2, 2]
    assert set(read_other_classes(path, ("cat",))) == {"dog"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pictures/cat1.png,dog,train", "has the label 'cat' in line 3 and 'dog' in line"),
        ("./pictures/cat1.png,dog,train", "has the label 'cat' in line 3 and 'dog' in line"),
        ("link/cat1.png,cat,test", "has the split 'train' in line 3 and 'test' in line"),
        ("pictures/cat1.png,cat,test", "has the split 'train' in line 3 and 'test' in line"),
        ("pictures/cat7.png,cow,test", "line 12: a test picture of 'cow', a class of which"),
    ],
)
def test_a_csv_that_contradicts_itself_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = write_list(tmp_path, "path,label,split", [*rows("train", range(5)), line])
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    with pytest.raises(DataError, match=message):
        read_source(path)
    with pytest.raises(DataError, match="--val goes with a data folder"):
        read_source(path, validation=tmp_path)


def test_rows_of_a_csv_with_too_many_values_are_skipped(tmp_path: Path) -> None:
    lines = [*rows("", range(8)), "pictures/cat0.png,cat,very", 'pictures/cat1.png,cat,,""']
    source = read_source(write_list(tmp_path, "path,label", lines))
    assert source.passed_over[0] == (
        "1 row with more values than the header has columns (such as line 18); put a path or a "
        "label with a comma in quotes"
    )
    assert source.classes == TWO


def test_kaggles_train_csv_without_usage_is_split(tmp_path: Path) -> None:
    lines = [f"{e},{pixels_text(band_face(e - 3, n))}" for e in (3, 4) for n in range(20)]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["emotion,pixels", *lines]) + "\n")
    dataset = load_dataset(path)
    assert dataset.classes == ("happy", "sad")
    assert dataset.test is not None
    assert [len(f) for f in (dataset.train, dataset.validation, dataset.test)] == [28, 6, 6]
    assert "layout: FER2013's CSV, without splits" in dataset.notes


def test_the_challenge_csv_of_seven_gives_three_classes(tmp_path: Path) -> None:
    every = [(str(n), pixels_text(band_face(0, n)), "Training") for n in range(7)]
    assert read_source(write_csv(tmp_path / "f.csv", every)).classes == CLASSES


@pytest.mark.slow
def test_a_flat_folder_trains_with_the_defaults(train: Train, tmp_path: Path) -> None:
    data = write_flat(tmp_path / "d", (12, 10))
    options = ("--epochs", "1", "--network", "edge", "--augmentation", "none")
    result = train(data, "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.labels == TWO
    assert checkpoint.training["recipe"]["classes"] == list(TWO)
    assert checkpoint.training["recipe"]["validation_per_class"] == 1
    assert checkpoint.metrics["test"]["pictures"] == 4
    again = train(data, "-o", tmp_path / "run", "--resume", "--classes", "all")
    assert again.exit_code == 0, again.output


@pytest.mark.slow
def test_photographs_give_the_same_crops_as_emotion_infer(tmp_path: Path, train: Train) -> None:
    """A training on photographs uses the same pixels as ``emotion-infer --faces``."""
    from PIL import Image

    from emotion_runtime import FaceClassifier

    samples = Path(__file__).parents[2] / "samples"
    rng = np.random.default_rng(0)
    for name in ("happy", "sad"):
        for number in range(1, 6):
            noise = rng.integers(60, 200, (12, 16, 3), dtype=np.uint8)
            photo = Image.fromarray(noise).resize((480, 360), Image.Resampling.BICUBIC)
            face = Image.open(samples / f"{name}_{number:02}.png").convert("RGB")
            photo.paste(face.resize((150, 150), Image.Resampling.BICUBIC), (40, 60 + number))
            if number == 1:
                photo.paste(face.resize((90, 90), Image.Resampling.BICUBIC), (330, 200))
            path = tmp_path / "d" / "train" / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path, quality=95)
    Image.fromarray(noise).resize((480, 360)).save(tmp_path / "d" / "train" / "sad" / "none.png")
    dataset = load_dataset(tmp_path / "d", faces=True)
    assert "no face was found in 1 picture: left out" in dataset.notes
    assert "several faces in 2 pictures: the largest of each is used" in dataset.notes
    classifier = FaceClassifier(largest=True, keep_crops=True)
    for name, pixels in zip(dataset.train.names, dataset.train.pixels, strict=True):
        (found,) = classifier.predict(tmp_path / "d" / name)
        np.testing.assert_array_equal(pixels, found.crop)
    assert format_data_table(dataset).splitlines()[2].split() == ["sad", "6", "4", "1", "1"]
    options = ("--faces", "--epochs", "1", "--network", "edge", "--augmentation", "none")
    result = train(tmp_path / "d", "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "run").training["recipe"]["faces"] is True


def test_control_characters_in_names_of_a_csv_are_escaped(tmp_path: Path) -> None:
    lines = [*rows("train", range(5)), f"{'x' * 300}.png,cat,train", "a\0b.png,cat,train"]
    lines += ['"pictures/cat0\n.png",cat,train', "pictures/cat1.png,cat,\x1b[2J"]
    source = read_source(write_list(tmp_path, "path,label,split", lines))
    told = "; ".join(source.passed_over)
    assert "3 of 13 files that are listed do not exist" in told
    assert r"'\x1b[2J' 1" in told
    assert "\n" not in told
