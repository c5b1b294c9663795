"""Errors that do not depend on the data are raised before the data are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from emotion_train.data import dataset as dataset_module
from emotion_train.data.readers import read_source
from synthetic import CLASSES, save_face, write_data

Train = Callable[..., Result]


@pytest.fixture
def _no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("the data are read")

    monkeypatch.setattr(dataset_module, "read_source", fail)


@pytest.mark.usefixtures("_no_reading")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--start-from", "edge", "--network", "baseline"), 2, "is of the network edge, and"),
        (("--start-from", "edge", "--size", "64"), 2, "is of the size 48, and --size names 64"),
        (("--start-from", "edgee"), 1, "networks to start from are baseline, edge"),
        (("--start-from", "edge", "--start-from", "baseline"), 1, "must be of one network"),
        (("--start-from", "edge", "--freeze", "99"), 1, "edge has 7 layers"),
        (("--teacher", "edgee"), 1, "released models that can teach are baseline, baseline-int8"),
        (("--votes", "gone.csv"), 1, "gone.csv: no such votes file"),
    ],
)
def test_errors_come_before_the_data_are_read(
    train: Train,
    data_folder: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    result = train(data_folder, "-o", tmp_path / "run", *options)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


def test_a_folder_of_pictures_without_a_label_is_refused_with_advice(
    train: Train, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "sorted", (6, 6), 0, ("happy", "sad")) / "train"
    save_face(data / "uncertain" / "0.png", 0)
    options = ("--network", "edge", "--epochs", "1", "--augmentation", "none", "--batch-size", "8")
    result = train(data, "-o", tmp_path / "run", *options)
    assert result.exit_code == 1
    assert "'uncertain': the name is reserved" in result.stderr
    assert "move them to their classes, or leave them out with --classes happy,sad." in (
        result.stderr
    )
    followed = train(data, "-o", tmp_path / "run", *options, "--classes", "happy,sad")
    assert followed.exit_code == 0, followed.output


def test_photographs_cause_one_hint(tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (6, 6, 6), 2)
    assert not [note for note in read_source(data, CLASSES).notes if note.startswith("hint")]
    for path in data.rglob("*.png"):
        with Image.open(path) as face:
            face.resize((600, 400)).save(path)
    hints = [note for note in read_source(data, CLASSES).notes if note.startswith("hint")]
    assert len(hints) == 1
    assert hints[0].startswith("hint: 16 of 16 pictures looked at are larger or longer than crops")
    assert "of 600×400 pixels: where they are photographs, --faces finds" in hints[0]
    # A few large pictures among crops cause no hint.
    for path in list((data / "train").rglob("*.png"))[:12]:
        save_face(path, 0)
    assert not [note for note in read_source(data, CLASSES).notes if note.startswith("hint")]
