"""``emotion-train --exclude``: the pictures of an audit are left out or weighted, and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.dataset import Dataset, load_dataset
from emotion_train.data.exclusion import exclude_pictures, parse_exclusion
from emotion_train.errors import DataError
from emotion_train.recipe import EXCLUDE_ISSUES, Recipe
from emotion_train.run_record import read_record
from emotion_train.training.distributed import TrainingProcess
from emotion_train.training.trainer import Trainer
from synthetic import CLASSES, write_data

Train = Callable[..., Result]
HEADER = "path,label,split,suggested_label,score,label_issue,further_issues\n"


@pytest.fixture(scope="module")
def dataset(data_folder: Path) -> Dataset:
    return load_dataset(data_folder, validation_per_class=46)


def write_audit(
    path: Path, dataset: Dataset, suspicious: int = 2, labels: dict[str, str] | None = None
) -> Path:
    """Write an audit; of train, validation and test the first pictures are suspicious."""
    lines = []
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for split, faces in splits.items():
        assert faces is not None
        for number, (name, label) in enumerate(zip(faces.names, faces.labels, strict=True)):
            is_issue = number < suspicious
            given = (labels or {}).get(name, dataset.classes[label])
            score = 0.01 * number if is_issue else 0.9
            mark = "yes" if is_issue else "no"
            lines.append(f"{name},{given},{split},sad,{score:.6f},{mark},\n")
    path.write_text(HEADER + "".join(lines))
    return path


class TestRule:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a/audit.csv", ("a/audit.csv", EXCLUDE_ISSUES)),
            ("a/audit.csv:0.2", ("a/audit.csv", "0.2")),
            ("a/audit.csv:3%", ("a/audit.csv", "3%")),
            ("C:/a/audit.csv", ("C:/a/audit.csv", EXCLUDE_ISSUES)),
            ("C:/a/audit.csv:0.5", ("C:/a/audit.csv", "0.5")),
            ("a/audit.csv:nan", ("a/audit.csv:nan", EXCLUDE_ISSUES)),  # no number, so a name
        ],
    )
    def test_file_and_rule(self, text: str, expected: tuple[str, str]) -> None:
        path, rule = parse_exclusion(text)
        assert (path.as_posix(), rule) == expected

    @pytest.mark.parametrize("rule", ["0", "1", "1.5", "-0.1", "0%", "100%"])
    def test_a_number_out_of_range_is_refused(self, rule: str) -> None:
        with pytest.raises(ValueError, match=r"is not a s(core|hare) above"):
            parse_exclusion(f"audit.csv:{rule}")


class TestPictures:
    def test_issues_leave_train_and_held_out_pictures_stay(
        self, dataset: Dataset, tmp_path: Path
    ) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset)
        told: list[str] = []
        after = exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, told.append)
        assert after.dataset.train.names == dataset.train.names[2:]
        assert after.excluded == 2
        assert after.weights is None
        assert after.dataset.validation is dataset.validation
        assert after.dataset.test is dataset.test
        assert after.dataset.inventory.left_out["happy", "excluded"] == 2
        assert told[0].startswith(
            "exclude: 2 training pictures that the audit marks as label issues left out"
        )
        assert told[1].startswith("exclude: 4 such pictures in validation, hold-out or test kept")

    @pytest.mark.parametrize(("rule", "left"), [("0.005", 1), ("0.5", 2), ("3%", 2)])
    def test_a_score_and_a_share(
        self, rule: str, left: int, dataset: Dataset, tmp_path: Path
    ) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset)
        after = exclude_pictures(dataset, path, rule, 0.0, lambda _: None)
        # Three splits have as many suspicious pictures each, and only those of train are left out.
        assert len(dataset.train) - len(after.dataset.train) == left

    def test_a_weight_keeps_the_pictures(self, dataset: Dataset, tmp_path: Path) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset)
        after = exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.25, lambda _: None)
        assert after.dataset is dataset
        assert after.weights is not None
        assert after.weights.dtype == np.float32
        assert after.weights[:3].tolist() == [0.25, 0.25, 1.0]

    def test_a_corrected_label_is_not_excluded(self, dataset: Dataset, tmp_path: Path) -> None:
        name = dataset.train.names[0]
        path = write_audit(tmp_path / "audit.csv", dataset, labels={name: "surprise"})
        told: list[str] = []
        after = exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, told.append)
        assert name in after.dataset.train.names
        assert any("1 such picture kept, whose label has changed" in text for text in told)

    def test_training_pictures_without_a_score_are_counted(
        self, dataset: Dataset, tmp_path: Path
    ) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset)
        lines = path.read_text().splitlines()
        del lines[10]  # a training picture that is new since the audit
        lines[11] = lines[11].replace("0.900000,no", ",")  # one that was not rated
        path.write_text("\n".join(lines) + "\n")
        told: list[str] = []
        exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, told.append)
        total = f"{len(dataset.train)} training pictures"
        assert f"exclude: 1 of {total} not in the audit: kept" in told
        assert any(f"exclude: 1 of {total} without a score in the audit" in one for one in told)

    def test_missing_pictures_are_counted(self, dataset: Dataset, tmp_path: Path) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset)
        path.write_text(path.read_text() + "train/sad/gone.png,sad,train,happy,0.001,yes,\n")
        told: list[str] = []
        exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, told.append)
        assert any("1 such picture not in these splits" in text for text in told)

    def test_a_name_that_looks_like_a_formula(self, dataset: Dataset, tmp_path: Path) -> None:
        path = tmp_path / "audit.csv"
        name = dataset.train.names[0]
        path.write_text(f"{HEADER}'{name},happy,train,sad,0.1,yes,\n")
        after = exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, lambda _: None)
        assert after.excluded == 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (None, "no such file; emotion-audit writes it"),
            ("path,label\n", "expected an audit.csv of emotion-audit"),
            (HEADER + "a.png,happy\n", "line 2: has fewer values than the header"),
            (HEADER + "a.png,happy,train,sad,nan,yes,\n", "a score is a number from 0 to 1"),
            (HEADER + "a.png,happy,train,sad,1.5,yes,\n", "a score is a number from 0 to 1"),
            (HEADER + "a.png,happy,train,sad,0.5,maybe,\n", "label_issue is yes or no"),
            (HEADER + 2 * "a.png,happy,train,sad,0.5,yes,\n", "lists 'a.png' a second time"),
            (HEADER + "a.png,happy,train,sad,0.5,yes,\n", "the audit of other data"),
            ("\0" * 9, "audit.csv"),
        ],
    )
    def test_a_file_that_is_no_audit_of_these_data(
        self, text: str | None, message: str, dataset: Dataset, tmp_path: Path
    ) -> None:
        path = tmp_path / "audit.csv"
        if text is not None:
            path.write_text(text)
        with pytest.raises(DataError, match=message):
            exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, lambda _: None)

    def test_an_audit_without_such_pictures(self, dataset: Dataset, tmp_path: Path) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset, suspicious=0)
        with pytest.raises(DataError, match=r"has no picture with a score below 0\.2 in the audit"):
            exclude_pictures(dataset, path, "0.2", 0.0, lambda _: None)

    def test_a_class_that_would_be_empty(self, dataset: Dataset, tmp_path: Path) -> None:
        path = write_audit(tmp_path / "audit.csv", dataset, suspicious=30)  # all 24 happy ones
        with pytest.raises(DataError, match="no training picture of happy is left after those"):
            exclude_pictures(dataset, path, EXCLUDE_ISSUES, 0.0, lambda _: None)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--exclude-weight", "0.5"), "--exclude-weight needs --exclude"),
            (("--exclude", "a.csv", "--exclude-weight", "nan"), "nan is not a finite number"),
            (("--exclude", "a.csv", "--exclude-weight", "1"), "is not in the range"),
            (("--exclude", "a.csv:2"), "--exclude: 2 is not a score above 0 and below 1."),
        ],
    )
    def test_wrong_usage(
        self, train: Train, arguments: tuple[str, ...], message: str, tmp_path: Path
    ) -> None:
        result = train(tmp_path, "-o", tmp_path / "run", *arguments)
        assert result.exit_code == 2
        assert message in result.output

    def test_a_missing_file_is_reported_before_the_data_are_read(
        self, train: Train, data_folder: Path, tmp_path: Path
    ) -> None:
        result = train(data_folder, "-o", tmp_path / "r", "--exclude", tmp_path / "audit.csv:0.1")
        assert result.exit_code == 1
        assert "audit.csv: no such file; emotion-audit writes it." in result.output
        assert "layout" not in result.output
        (tmp_path / "audit.csv").touch()
        result = train(data_folder, "-o", tmp_path / "r", "--exclude", tmp_path / "audit.csv:0,1")
        assert result.exit_code == 1
        assert "'0,1' is neither a score such as 0.1 nor a share such as 3%" in result.output


def test_a_weighted_face_counts_less_in_the_loss(dataset: Dataset) -> None:
    recipe = Recipe("edge", CLASSES, balance="none")
    losses = []
    pixels = torch.from_numpy(dataset.train.pixels[:4, None])
    for weight in (1.0, 0.25):
        trainer = Trainer(dataset, recipe, TrainingProcess())
        targets, weights = torch.eye(3)[[0] * 4], torch.full((4,), weight)
        losses.append(float(trainer.take_step(trainer.network, pixels, targets, 4, weights)))
    assert losses[1] == pytest.approx(losses[0] / 4)


def test_weights_are_part_of_the_digest_of_the_data(dataset: Dataset) -> None:
    recipe = Recipe("edge", CLASSES)
    weights = np.ones(len(dataset.train), np.float32)
    weights[0] = 0.5
    with_weights = Trainer(dataset, recipe, TrainingProcess(), weights=weights)
    assert with_weights.digest != Trainer(dataset, recipe, TrainingProcess()).digest
    batches = [batch.weights for batch in with_weights.augmented]
    assert min(float(one.min()) for one in batches if one is not None) == 0.5


@pytest.mark.slow
def test_a_run_records_the_exclusion_and_resumes_with_it(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 2)
    dataset = load_dataset(data)
    audit = write_audit(tmp_path / "audit.csv", dataset)
    options = ("--exclude", f"{audit}:0.5", "--exclude-weight", 0.5, "--epochs", 1, "--no-test")
    result = train(data, "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert "with a score below 0.5 in the audit weighted 0.5 in the loss" in result.output
    record = read_record(tmp_path / "run")
    assert (record.recipe.exclude, record.recipe.exclude_weight) == ("0.5", 0.5)
    assert record.options is not None
    assert record.options.exclude is not None
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.training["excluded"] == {
        "pictures": 2,
        "audit_sha256": record.options.exclude.sha256,
    }
    assert "exclude 0.5, exclude_weight 0.5" in (tmp_path / "run/report/report.md").read_text()
    resumed = train(data, "-o", tmp_path / "run", "--resume", "--epochs", 2)
    assert resumed.exit_code == 0, resumed.output
    assert "weighted 0.5 in the loss" in resumed.output
    other = train(data, "-o", tmp_path / "run", "--resume", "--exclude", f"{audit}:0.1")
    assert other.exit_code == 2
    assert "the run to resume has exclude 0.5, not 0.1" in other.output
    audit.write_text(audit.read_text().replace(",no,", ",yes,"))
    changed = train(data, "-o", tmp_path / "run", "--resume")
    assert changed.exit_code == 1
    assert "the content of --exclude has changed" in changed.output


@pytest.mark.slow
def test_a_run_without_an_audit_has_no_such_record(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (12, 12, 12), 2)
    assert train(data, "-o", tmp_path / "run", "--epochs", 1, "--no-test").exit_code == 0
    assert "excluded" not in load_checkpoint(tmp_path / "run").training
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    assert values["options"]["exclude"] is None
    assert values["recipe"]["exclude"] == ""
