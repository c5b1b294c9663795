"""Files that are not read are counted, and figures name the classes that they do not cover."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.readers import read_other_classes, read_source
from emotion_train.errors import DataError
from emotion_train.evaluation import measure
from emotion_train.report.tables import (
    describe_accuracy,
    format_metrics_tables,
    list_prediction_warnings,
)
from synthetic import CLASSES, band_face, pixels_text, save_face, write_csv, write_data

Train = Callable[..., Result]
SHORT = ("--epochs", "1", "--network", "edge", "--validation", "5", "--augmentation", "none")


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run on data that several of its figures cover only in part."""
    from click.testing import CliRunner

    from emotion_train.cli import main

    folder = tmp_path_factory.mktemp("odd")
    data = write_data(folder / "d", (12, 12, 12), 3)
    shutil.rmtree(data / "test" / "happy")
    (data / "test" / "sad" / "000.png").write_bytes(b"no")
    face = (data / "train" / "sad" / "000.png").read_bytes()
    for path in (data / "train" / "sad").iterdir():
        path.write_bytes(face)
    shutil.copy(data / "train" / "happy" / "000.png", data / "train" / "surprise" / "copy.png")
    rows = [f"train/happy/{n:03}.png,9,0,0,1" for n in range(12)] + ["test/sad/001.png,0,9,0,0"]
    header = "\ufeffpath,happiness,sad,surprise,bored"
    (folder / "votes.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    arguments = [data, "-o", folder / "run", *SHORT, "--holdout", "0.01"]
    arguments += ["--votes", folder / "votes.csv", "--vote-weight", "0.5"]
    return folder / "run", CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_a_class_without_test_pictures_is_not_covered_by_the_figures(
    odd_run: tuple[Path, Result],
) -> None:
    folder, result = odd_run
    assert result.exit_code == 0, result.output
    assert "no pictures of happy in test" in result.stderr
    assert "which show sad, surprise alone; no pictures of happy" in result.stdout
    figures = load_checkpoint(folder).metrics["test"]
    assert figures["balanced_accuracy"] is None
    assert figures["missing_classes"] == ["happy"]
    assert figures["classes"]["happy"]["recall"] is None
    assert "no balanced accuracy" in (folder / "report" / "report.md").read_text()


@pytest.mark.slow
def test_unreadable_test_pictures_are_counted_beside_the_accuracy(
    odd_run: tuple[Path, Result],
) -> None:
    folder, result = odd_run
    assert "1 test picture could not be read" in result.stderr
    assert "on 5 pictures" in result.stdout
    assert "1 more could not be read" in result.stdout
    assert load_checkpoint(folder).metrics["test"]["unreadable"] == 1


@pytest.mark.slow
def test_duplicates_and_missing_held_out_pictures_cause_warnings(
    odd_run: tuple[Path, Result],
) -> None:
    told = odd_run[1].stderr
    assert "training pictures of sad are the same" in told
    assert "in more than one class" in told
    assert "train/surprise/copy.png" in told
    assert "nothing is held out" in told


def test_votes_for_a_part_of_the_pictures_cause_a_warning(odd_run: tuple[Path, Result]) -> None:
    folder, result = odd_run
    assert "the columns bored are counted as votes for something other" in result.stderr
    assert "14 of 21 training pictures are not listed" in result.stderr
    assert "1 of 5 test pictures are listed" in result.stderr
    assert load_checkpoint(folder).metrics["test"]["annotators_agree"]["listed"] == 1


def test_votes_of_the_training_pictures_alone_are_enough(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 3)
    votes = {"happy": "9,0,0", "sad": "0,9,0", "surprise": "0,0,9"}
    rows = [f"train/{name}/{n:03}.png,{votes[name]}" for name in votes for n in range(12)]
    (tmp_path / "votes.csv").write_text("\n".join(["path,happy,sad,surprise", *rows]) + "\n")
    options = ("--votes", tmp_path / "votes.csv", "--vote-weight", "0.5")
    result = train(data, "-o", tmp_path / "r", *SHORT, *options)
    assert result.exit_code == 0, result.output
    assert "0 of 9 test pictures are listed; the test accuracy is that against the labels" in (
        result.stderr
    )
    assert "annotators_agree" not in load_checkpoint(tmp_path / "r").metrics["test"]


def test_votes_of_none_of_the_pictures_are_refused(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 3)
    (tmp_path / "votes.csv").write_text("path,happy,sad,surprise\nother/0.png,1,0,0\n")
    result = train(data, "-o", tmp_path / "r", *SHORT, "--votes", tmp_path / "votes.csv")
    assert result.exit_code == 1
    assert "lists none of the pictures (such as train/" in result.stderr


def test_votes_that_leave_a_class_without_pictures_are_refused(
    train: Train, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 0)
    rows = [f"train/sad/{n:03}.png,0,0,0,9" for n in range(12)]
    text = "\n".join(["path,happy,sad,surprise,not_a_face", *rows]) + "\n"
    (tmp_path / "votes.csv").write_text(text)
    options = ("--votes", tmp_path / "votes.csv", "--vote-weight", "0.5")
    result = train(data, "-o", tmp_path / "r", *SHORT, *options)
    assert result.exit_code == 1
    assert "no training picture of sad is left after those that --votes" in result.stderr


def test_a_test_folder_of_an_unknown_class_is_an_error_that_names_both(tmp_path: Path) -> None:
    data = write_data(tmp_path, (3, 3, 3), 2)
    (data / "test" / "happy").rename(data / "test" / "Happy")
    with pytest.raises(DataError, match=r"'Happy'.*it has 'happy'"):
        read_source(data, CLASSES)
    shutil.rmtree(data / "test" / "Happy")
    (data / "test" / "empty").mkdir()  # no picture, so that none is left out
    assert len(read_source(data, CLASSES).splits["test"]) == 4


def test_files_that_are_not_read_are_counted_with_an_example(tmp_path: Path) -> None:
    data = write_data(tmp_path, (3, 3, 3), 2)
    save_face(data / "train" / "loose.png", 1)
    save_face(data / "more" / "sad" / "c.png", 1)
    save_face(data / "top.png", 1)
    save_face(data / "train" / "bored" / "d.png", 1)
    for name in ("x.psd", "y.psd", "notes.txt", ".DS_Store"):
        (data / "test" / "happy" / name).touch()
    (data / "empty").mkdir()
    told = read_source(data, CLASSES).passed_over
    expected = [
        "more: 1 picture (such as more/sad/c.png); only train and test are read",
        "1 picture outside of train and test",
        "train: pictures of classes that are not trained on (bored 1)",
        "train: 1 picture in no class folder",
        "test/happy: 4 files that no suffix names a picture (.psd 2, hidden 1, .txt 1; such as",
    ]
    assert len(told) == len(expected)
    for line, start in zip(told, expected, strict=True):
        assert start in line


def test_a_folder_that_is_read_completely_reports_no_other_files(data_folder: Path) -> None:
    assert read_source(data_folder, CLASSES).passed_over == ()


def csv_of(path: Path, header: str, emotions: tuple[int, ...] = (3, 4)) -> Path:
    rows = [
        f"{emotion},{usage},{pixels_text(band_face(n, m))}"
        for n, emotion in enumerate(emotions)
        for m, usage in enumerate(("Training", "training ", " PublicTest"))
    ]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["emotion, Usage, pixels", "\ufeffEmotion,USAGE,Pixels"])
def test_kaggles_csv_may_have_spaces_a_byte_order_mark_or_other_case(
    tmp_path: Path, header: str
) -> None:
    source = read_source(csv_of(tmp_path / "icml_face_data.csv", header), ("all",))
    assert source.classes == ("happy", "sad")  # the classes in the file, not all seven
    assert len(source.splits["train"]) == 4
    assert len(source.splits["test"]) == 2
    assert source.skipped == []


def test_the_error_on_a_missing_column_names_the_columns_that_exist(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("emotion,Usage\n3,Training\n")
    with pytest.raises(DataError, match="its first line has: emotion, usage"):
        read_source(tmp_path / "f.csv", CLASSES)


def test_rows_of_other_classes_are_counted_and_used_as_unknown_faces(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "f.csv", "emotion,Usage,pixels", (3, 4, 0))
    source = read_source(path, ("happy", "sad"))
    assert source.passed_over == (
        "train: rows of classes that are not trained on (angry 2)",
        "test: rows of classes that are not trained on (angry 1)",
    )
    assert {k: len(v) for k, v in read_other_classes(path, ("happy", "sad")).items()} == {
        "angry": 2
    }


def test_a_test_row_of_a_class_without_training_rows_is_refused(tmp_path: Path) -> None:
    rows = [
        ("3", pixels_text(band_face(0)), "Training"),
        ("4", pixels_text(band_face(1)), "PublicTest"),
    ]
    with pytest.raises(DataError, match="test picture of sad"):
        read_source(write_csv(tmp_path / "f.csv", rows), ("all",))


@pytest.mark.parametrize("name", ["error", "Path", "uncertain", "other"])
def test_reserved_names_are_refused_as_classes(train: Train, tmp_path: Path, name: str) -> None:
    data = write_data(tmp_path / "d", (3, 3, 3), 0, ("happy", "sad", name))
    with pytest.raises(DataError, match="reserved"):
        read_source(data, ("all",))
    result = train(data, "-o", tmp_path / "r", "--classes", f"happy,{name}")
    assert result.exit_code == 2
    assert "reserved" in result.stderr
    # If it is not a class, such a folder can still have faces of no class.
    assert set(read_other_classes(data, ("happy", "sad"))) == {name}


def test_an_unreadable_test_set_causes_a_warning(tmp_path: Path) -> None:
    data = write_data(tmp_path, (3, 3, 3), 1)
    for path in (data / "test").rglob("*.png"):
        path.write_bytes(b"no")
    source = read_source(data, CLASSES)
    assert "test" not in source.splits
    assert "its 3 pictures could not be read" in source.passed_over[-1]


def test_warnings_name_classes_that_are_never_predicted() -> None:
    labels = np.array([0, 0, 1, 2], np.int64)
    one = measure(np.eye(3, dtype=np.float32)[[0, 0, 0, 0]], labels).to_dict(CLASSES)
    assert list_prediction_warnings(one, "test") == [
        "the network predicts only 'happy', on all test pictures"
    ]
    assert one["classes"]["sad"]["precision"] is None
    two = measure(np.eye(3, dtype=np.float32)[[0, 0, 1, 0]], labels).to_dict(CLASSES)
    assert list_prediction_warnings(two, "test") == [
        "the network never predicts 'surprise', which is on 1 test picture"
    ]
    assert "balanced 66.67%" in describe_accuracy(two)
    three = measure(np.eye(3, dtype=np.float32)[[0, 2, 1, 1]], labels).to_dict(CLASSES)
    assert list_prediction_warnings(three, "hold-out") == [
        "the network recognises none of the 1 hold-out picture of 'surprise' (recall 0), though "
        "it predicts 'surprise' for others",
    ]
    assert any("| surprise | – | 0.00%" in line for line in format_metrics_tables(two))


def test_data_with_too_few_different_pictures_are_refused(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 0)
    everything = train(
        data, "-o", tmp_path / "r", *SHORT[:-2], "--validation", "11", "--holdout", "0.9"
    )
    assert everything.exit_code == 1
    assert "would be held out" in everything.stderr
    face = (data / "train" / "sad" / "000.png").read_bytes()
    for path in (data / "train").rglob("*.png"):
        path.write_bytes(face)
    same = train(data, "-o", tmp_path / "r", *SHORT)
    assert same.exit_code == 1
    assert "training pictures are the same" in same.stderr
    assert not (tmp_path / "r").exists()
