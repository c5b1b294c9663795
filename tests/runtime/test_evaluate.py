"""``emotion-eval``: the figures of labelled folders, and reports of everything left out."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

import emotion_models
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.evaluate.cli import main
from emotion_runtime.evaluate.confusion_matrix import draw_confusion_matrix
from emotion_runtime.evaluate.metrics import compute_wilson_interval, measure_probabilities
from emotion_runtime.evaluate.training_pictures import describe_training_pictures
from emotion_runtime.prediction import Prediction
from emotion_runtime.results.contact_sheet import ContactSheet
from synthetic import CLASSES, band_model, save_face

Evaluate = Callable[..., Result]


@pytest.fixture
def evaluate(model_file: Path) -> Evaluate:
    return lambda *arguments: CliRunner().invoke(
        main, [*map(str, arguments), "-m", str(model_file)]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures a class; one of `sad` shows happy, and one is in a sub-folder."""
    for label, name in enumerate(CLASSES):
        for number in range(4):
            inside = name if number else f"{name}/more"
            save_face(tmp_path / "faces" / inside / f"{number}.png", label, number)
    save_face(tmp_path / "faces" / "sad" / "3.png", 0, 99)
    return tmp_path / "faces"


def figures(result: Result) -> dict:  # type: ignore[type-arg]
    return dict(json.loads(result.stdout))


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500).astype(np.float32)
    labels = rng.integers(0, 4, 500)
    predicted = probabilities.argmax(axis=1)
    metrics = measure_probabilities(probabilities, labels)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted)
    assert metrics.accuracy == accuracy_score(labels, predicted)
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics.precision == pytest.approx(precision)
    assert metrics.recall == pytest.approx(recall)
    assert metrics.f1 == pytest.approx(f1)
    assert metrics.support.tolist() == support.tolist()
    assert metrics.confusion.tolist() == confusion_matrix(labels, predicted).tolist()
    double = probabilities.astype(float) / probabilities.astype(float).sum(axis=1, keepdims=True)
    assert metrics.cross_entropy == pytest.approx(log_loss(labels, double), rel=1e-5)


def test_the_interval_is_the_wilson_interval() -> None:
    low, high = compute_wilson_interval(9, 10)
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
    assert compute_wilson_interval(0, 5)[0] == 0
    assert compute_wilson_interval(5, 5)[1] == 1


def test_a_folder_is_evaluated(evaluate: Evaluate, folder: Path) -> None:
    result = evaluate(folder, "-f", "json")
    assert result.exit_code == 0
    found = figures(result)
    assert found["pictures"] == 12
    assert found["accuracy"] == round(11 / 12, 6)
    assert found["confusion_matrix"] == [[4, 0, 0], [1, 3, 0], [0, 0, 4]]
    assert found["classes"]["sad"]["recall"] == 0.75
    assert found["unreadable"] == found["passed_over"] == 0
    low, high = found["accuracy_interval"]
    assert low < 11 / 12 < high


def test_the_table_has_the_same_figures(evaluate: Evaluate, folder: Path) -> None:
    result = evaluate(folder)
    assert "accuracy           91.67% (95 % interval 64.6% to 98.5%)" in result.stdout
    assert "pictures           12" in result.stdout


def test_a_class_without_pictures_has_no_figures(evaluate: Evaluate, folder: Path) -> None:
    for path in (folder / "sad").rglob("*.png"):
        path.unlink()
    result = evaluate(folder, "-f", "json")
    found = figures(result)
    assert found["balanced_accuracy"] is None
    assert found["classes"]["sad"]["recall"] is None
    assert found["missing_classes"] == ["sad"]
    assert "no pictures of sad: the accuracy does not cover it" in result.stderr
    assert "not defined without pictures of sad" in evaluate(folder).stdout


def test_folders_that_are_not_labels_are_counted_separately(
    evaluate: Evaluate, folder: Path
) -> None:
    save_face(folder / "neutral" / "1.png", 1)
    result = evaluate(folder, "-f", "json")
    assert figures(result)["pictures"] == 12
    assert figures(result)["other_folders"] == {"neutral": {"pictures": 1, "labelled": 1}}
    assert "neutral: no label of the model; 1 of 1 picture got one" in evaluate(folder).stdout


def test_a_folder_that_may_hold_the_training_pictures_is_reported(
    folder: Path, tmp_path: Path
) -> None:
    def run(faces: list[int], *more: str) -> str:
        training = {"recipe": {"classes": ["fear", *CLASSES]}, "faces": [999, *faces]}
        metadata: dict[str, str | None] = {"training": json.dumps(training)}
        model = band_model(tmp_path / "m.onnx", metadata=metadata)
        return CliRunner().invoke(main, [str(folder), "-m", str(model), *more]).stderr

    assert "trained on 10 pictures of these labels, which may be among the 12 in" in run([4, 4, 2])
    assert "trained on" not in run([4, 4, 5])
    splits = tmp_path / "splits.csv"
    splits.write_text("path,label,split\nsad/3.png,sad,test\n")
    assert "trained on" not in run([1, 1, 1], "--splits", str(splits))


def test_what_a_file_records_of_its_training_may_be_anything() -> None:
    counts = {"happy": 4, "sad": 4}
    for training in (
        {},
        {"recipe": 1, "faces": [1]},
        {"recipe": {"classes": ["happy", "sad"]}, "faces": [1]},
        {"recipe": {"classes": ["happy", ["sad"]]}, "faces": [1, 1]},
        {"recipe": {"classes": ["happy", "sad"]}, "faces": [1, "1"]},
    ):
        assert describe_training_pictures(training, counts, "faces") is None


def test_unreadable_pictures_are_reported(evaluate: Evaluate, folder: Path) -> None:
    (folder / "happy" / "broken.png").write_bytes(b"no picture")
    (folder / "happy" / "notes.txt").touch()
    save_face(folder / "loose.png", 1)
    result = evaluate(folder, "-f", "json")
    assert result.exit_code == 1
    assert figures(result)["pictures"] == 12
    assert figures(result)["unreadable"] == 1
    assert figures(result)["passed_over"] == 2
    assert "not evaluated" in result.stderr
    assert "broken.png" in result.stderr


def test_a_folder_that_cannot_be_listed_is_reported(
    evaluate: Evaluate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.scandir

    def scandir(path: bytes) -> object:
        if os.fsdecode(path).endswith("happy/more"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = evaluate(folder, "-f", "json")
    assert result.exit_code == 1
    assert figures(result)["pictures"] == 11
    assert "happy/more: cannot be listed (Permission denied)" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "sad").rename(f / "Sad"), "the model's label is 'sad'"),
        (lambda f: f.rename(f.parent / "gone"), "no such folder"),
        (lambda f: [(f / c).rename(f / f"{c}-faces") for c in CLASSES], "no folder is named after"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    evaluate: Evaluate, folder: Path, change: Callable[[Path], object], message: str
) -> None:
    change(folder)
    result = evaluate(folder)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not result.stdout


def test_of_a_data_folder_the_test_set_is_evaluated(evaluate: Evaluate, data_folder: Path) -> None:
    assert f"evaluate {data_folder / 'test'}" in evaluate(data_folder).stderr


def test_wrong_predictions_are_listed_and_drawn(
    evaluate: Evaluate, folder: Path, tmp_path: Path
) -> None:
    listing, sheet, matrix = (tmp_path / n for n in ("wrong.csv", "sheet.png", "matrix.png"))
    arguments = ("--wrong", listing, "--contact-sheet", sheet, "--confusion-matrix", matrix)
    assert evaluate(folder, *arguments).exit_code == 0
    with listing.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(folder / "sad" / "3.png")
    assert (row["true_label"], row["predicted_label"]) == ("sad", "happy")
    for picture in (sheet, matrix):
        with Image.open(picture) as image:
            assert min(image.size) > 80


def test_a_matrix_of_many_long_names_keeps_its_shape() -> None:
    names = [f"a rather long class name {number}" for number in range(12)]
    image = draw_confusion_matrix(np.eye(12, dtype=np.int64) * 1_000_000, names, "title")
    assert image.width < 2000
    assert image.height < 1400


def test_coverage_is_that_of_the_threshold(
    evaluate: Evaluate, folder: Path, model_file: Path
) -> None:
    confidences = [p.confidence or 0 for p in EmotionClassifier(model_file).predict_folder(folder)]
    threshold = float(np.median(confidences))
    found = figures(evaluate(folder, "-f", "json", "--min-confidence", threshold))
    assert found["coverage"] == round(np.mean(np.array(confidences) >= threshold), 6)
    assert 0.5 <= found["coverage"] < 1


def test_figures_are_those_of_the_training(tmp_path: Path) -> None:
    """A released network in PyTorch and as a file, on pictures with wrong predictions."""
    from emotion_train.checkpoints.checkpoint import load_checkpoint
    from emotion_train.evaluation import measure, predict_logits

    checkpoint = load_checkpoint(emotion_models.checkpoint_path("edge"))
    averages = checkpoint.average_faces[:, 0].numpy()
    rng = np.random.default_rng(0)
    pixels, labels = [], []
    for number in range(120):
        label = int(rng.integers(0, 3))
        noisy = averages[number % len(averages)] + rng.normal(0, 25, averages.shape[1:])
        path = tmp_path / CLASSES[label] / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
        pixels.append(read_face(path))
        labels.append(label)
    logits = predict_logits(checkpoint.build(), np.stack(pixels))[:, :3]  # the labels of the file
    trained = measure(logits, np.array(labels), checkpoint.temperature).to_dict(CLASSES)
    result = CliRunner().invoke(main, [str(tmp_path), "-m", "edge", "-f", "json"])
    found = figures(result)
    assert 0.1 < found["accuracy"] < 0.9
    for name in ("calibration_error", "cross_entropy"):
        assert found[name] == pytest.approx(trained.pop(name), abs=1e-5)
    assert {name: found[name] for name in trained} == trained


def test_undefined_figures_are_a_dash(evaluate: Evaluate, folder: Path) -> None:
    for label, name in enumerate(CLASSES):
        for number in range(4):
            inside = name if number else f"{name}/more"
            save_face(folder / inside / f"{number}.png", 1 if label == 2 else label, number)
    found = figures(evaluate(folder, "-f", "json"))
    assert found["never_predicted"] == ["surprise"]
    assert found["classes"]["surprise"]["precision"] is None
    assert found["classes"]["surprise"]["recall"] == 0
    result = evaluate(folder, "--min-confidence", "1")
    (row,) = [line.split() for line in result.stdout.splitlines() if line.startswith("surprise")][
        :1
    ]
    assert row == ["surprise", "–", "0.0%", "0.0%", "4"]
    assert "no picture gets a label" in result.stdout
    assert "never predicts surprise" in result.stderr


def test_captions_do_not_overlap(tmp_path: Path) -> None:
    path = str(save_face(tmp_path / "a.png", 0))
    names = ("an uncommonly long class name", "another class name, longer still")
    for wrong in (names, ("sad", "happy")):
        sheet = ContactSheet(tmp_path / "sheet.png")
        for _ in range(3):
            sheet.add(Prediction("happy", 0.93, {"happy": 0.93}, path), wrong)
        sheet.save()
        pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
        for place in range(3):
            left = 8 + place * 104
            gap = pixels[34:, left + 96 : left + 104]
            assert (gap == 255).all(), "text runs into the next picture"
            caption = pixels[34 + 96 + 2 : 34 + 96 + 14, left : left + 96]
            assert caption.min() < 100


def test_labels_in_any_script_are_drawn_or_reported(
    evaluate: Evaluate, folder: Path, tmp_path: Path
) -> None:
    pictures = ("--contact-sheet", tmp_path / "s.png", "--confusion-matrix", tmp_path / "c.png")
    result = evaluate(folder, *pictures)
    assert "cannot be drawn" not in result.stderr, "the arrow is in the font that ships"
    confusion = np.eye(2, dtype=np.int64)
    shown = [
        np.asarray(draw_confusion_matrix(confusion, names, "title"))
        for names in (["радость", "грусть"], ["радоять", "грусть"])
    ]
    assert not np.array_equal(*shown), "Cyrillic letters have forms of their own"
    assert evaluate(folder, "--font", "x.ttf").exit_code == 2
    assert "no such font file" in evaluate(folder, "--font", "x.ttf", *pictures).stderr


def test_a_dash_is_standard_output(
    evaluate: Evaluate, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert figures(evaluate(folder, "-f", "json", "-o", "-"))["pictures"] == 12
    wrong = evaluate(folder, "--wrong", "-")
    assert wrong.exit_code == 2
    assert "--wrong takes a file" in wrong.stderr
    assert not (tmp_path / "-").exists()


def test_links_to_known_folders_and_hidden_files_are_counted(
    evaluate: Evaluate, folder: Path
) -> None:
    (folder / "sad" / "again").symlink_to(folder / "sad")
    save_face(folder / ".thumbnails" / "a.png", 0)
    (folder / "notes.txt").touch()
    result = evaluate(folder)
    assert "pictures           12" in result.stdout
    assert "3 files or folders passed over" in result.stderr


def test_an_output_that_is_one_of_the_pictures_is_refused(evaluate: Evaluate, folder: Path) -> None:
    picture = folder / "sad" / "3.png"
    before = picture.read_bytes()
    for option in ("-o", "--wrong", "--confusion-matrix", "--contact-sheet", "--font"):
        if option == "--font":
            options = [option, picture, "--contact-sheet", picture]
        else:
            options = [option, picture]
        result = evaluate(folder, *options)
        assert result.exit_code == 1
        assert "an input of this run" in result.stderr
        assert picture.read_bytes() == before


def test_the_next_command_shows_the_wrong_pictures(evaluate: Evaluate, folder: Path) -> None:
    assert f"next: emotion-eval {folder} -m " in evaluate(folder).stderr
    assert evaluate(folder, "-q").stderr == ""


def test_a_picture_under_two_labels_is_refused(evaluate: Evaluate, folder: Path) -> None:
    (folder / "happy" / "linked").symlink_to(folder / "sad")
    result = evaluate(folder)
    assert result.exit_code == 1
    assert "is also in the folder of another label" in result.stderr


def test_quiet_still_reports_what_was_not_evaluated(evaluate: Evaluate, folder: Path) -> None:
    (folder / "happy" / "broken.png").write_bytes(b"no picture")
    result = evaluate(folder, "-q")
    assert result.exit_code == 1
    assert "not evaluated" in result.stderr


def test_the_next_command_keeps_the_split(evaluate: Evaluate, folder: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text("path,label,split\nsad/3.png,sad,test\nhappy/1.png,happy,test\n")
    result = evaluate(folder, "--splits", splits)
    assert f"--splits {splits}" in result.stderr
    assert "10 pictures left out: not in the test set" in result.stderr
