"""``emotion-eval``: labelled folders in, figures out, and nothing left out in silence."""

from __future__ import annotations

import csv
import json
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

from emotion_runtime import EmotionClassifier
from emotion_runtime.evaluate.cli import main
from emotion_runtime.evaluate.confusion_matrix import draw_confusion_matrix
from emotion_runtime.evaluate.metrics import measure_probabilities, wilson_interval
from synthetic import CLASSES, save_face

Evaluate = Callable[..., Result]


@pytest.fixture
def evaluate(model_file: Path) -> Evaluate:
    return lambda *arguments: CliRunner().invoke(
        main, [*map(str, arguments), "-m", str(model_file)]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures a class, of which one of `sad` shows happy; one lies in a folder deeper."""
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


def test_the_interval_is_wilsons() -> None:
    low, high = wilson_interval(9, 10)
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
    assert wilson_interval(0, 5)[0] == 0
    assert wilson_interval(5, 5)[1] == 1


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


def test_folders_of_no_label_are_counted_apart(evaluate: Evaluate, folder: Path) -> None:
    save_face(folder / "neutral" / "1.png", 1)
    result = evaluate(folder, "-f", "json")
    assert figures(result)["pictures"] == 12
    assert figures(result)["other_folders"] == {"neutral": {"pictures": 1, "labelled": 1}}
    assert "neutral: no label of the model; 1 of 1 picture got one" in evaluate(folder).stdout


def test_what_cannot_be_read_is_named(evaluate: Evaluate, folder: Path) -> None:
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


def test_a_data_folder_leads_to_its_test_set(evaluate: Evaluate, data_folder: Path) -> None:
    assert f"evaluate {data_folder / 'test'}" in evaluate(data_folder).stderr


def test_wrong_pictures_are_listed_and_drawn(
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
