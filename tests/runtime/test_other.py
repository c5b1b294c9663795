"""Model files with the output `other`, for faces that show none of the labels, in all commands."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from sklearn.metrics import auc, roc_auc_score

from emotion_runtime import (
    Detection,
    EmotionClassifier,
    FaceClassifier,
    FaceFinder,
    FacePrediction,
    ModelFileError,
)
from emotion_runtime.drawing.boxes import draw_faces
from emotion_runtime.evaluate.open_set import OpenSet, count_confusion
from emotion_runtime.faces.detection import Box
from emotion_runtime.model.outputs import Outputs, compute_other_tolerance
from emotion_runtime.video.frames import Frame
from emotion_runtime.video.prediction import predict_frames
from synthetic import CLASSES, DARK, band_face, band_model, band_other, dark_face, save_face

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return band_model(tmp_path_factory.mktemp("other") / "m.onnx", other_threshold=0.5)


@pytest.fixture(scope="module")
def classifier(other_model: Path) -> EmotionClassifier:
    return EmotionClassifier(other_model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two faces of each class, three dark ones, and a face of `fear` that looks sad."""
    for label, name in enumerate(CLASSES):
        for number in range(2):
            save_face(tmp_path / "faces" / name / f"{number}.png", label, number)
    for number in range(3):
        save_face(tmp_path / "faces" / DARK / f"{number}.png", 3, number)
    save_face(tmp_path / "faces" / "fear" / "0.png", 1, 50)
    return tmp_path / "faces"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_face_that_shows_no_label_is_other(classifier: EmotionClassifier) -> None:
    prediction = classifier.predict(dark_face())
    assert prediction.label == "other"
    assert prediction.other == pytest.approx(band_other(dark_face()[np.newaxis])[0], abs=1e-6)
    assert prediction.confidence == prediction.other
    assert prediction.probabilities is not None
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert list(prediction.to_dict()) == [
        *("path", "label", "confidence", "probabilities", "other", "error"),
    ]
    happy = classifier.predict(band_face(0))
    assert (happy.label, happy.confidence) == ("happy", max((happy.probabilities or {}).values()))
    assert happy.other is not None
    assert happy.other < 0.01


def test_a_file_without_the_output_behaves_as_before(model_file: Path) -> None:
    plain = EmotionClassifier(model_file)
    prediction = plain.predict(dark_face())
    assert plain.other_threshold is prediction.other is plain.compute(dark_face()[None]).other
    assert prediction.label in CLASSES
    assert "other" not in prediction.to_dict()
    with pytest.raises(ValueError, match="has no output other"):
        EmotionClassifier(model_file, other_threshold=0.5)
    with pytest.raises(ValueError, match="has no output other"):
        plain.interpret(np.array([0.2, 0.3, 0.5], np.float32), other=0.5)


def test_other_comes_before_uncertain(other_model: Path) -> None:
    strict = EmotionClassifier(other_model, min_confidence=1.0)
    row = np.array([0.5, 0.25, 0.25], np.float32)
    assert strict.interpret(row, other=0.5).label == "other"  # equal to the threshold
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    assert strict.interpret(row, other=below).label == "uncertain"
    assert strict.interpret(row, other=below).confidence == 0.5


@pytest.mark.parametrize(("threshold", "label"), [(0.0, "other"), (0.9, "happy"), (1.0, "happy")])
def test_the_threshold_can_be_set(other_model: Path, threshold: float, label: str) -> None:
    classifier = EmotionClassifier(other_model, other_threshold=threshold)
    row = np.array([0.8, 0.1, 0.1], np.float32)
    assert classifier.interpret(row, other=0.7).label == label
    outputs = Outputs(row[np.newaxis], row[np.newaxis], np.array([0.7], np.float32))
    assert outputs.decide(threshold)[0] == (3 if label == "other" else 0)
    assert classifier.interpret(row, other=1.0).label == ("happy" if threshold == 1 else "other")


@pytest.mark.parametrize("other", [None, -0.1, 1.5, float("nan")])
def test_other_that_is_no_probability_is_refused(
    classifier: EmotionClassifier, other: float | None
) -> None:
    with pytest.raises(ValueError, match="other must be from 0 to 1"):
        classifier.interpret(np.array([0.5, 0.25, 0.25], np.float32), other=other)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(other_model: Path, threshold: float) -> None:
    with pytest.raises(ValueError, match="other_threshold must be from 0 to 1"):
        EmotionClassifier(other_model, other_threshold=threshold)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("other_threshold", None, "emotion_edge.other_threshold is missing"),
        ("other_threshold", "1.5", "emotion_edge.other_threshold"),
        ("other_threshold", "nan", "emotion_edge.other_threshold"),
        ("other_classes", None, "emotion_edge.other_classes"),
        ("other_classes", "[]", "emotion_edge.other_classes"),
        ("other_classes", '["happy"]', "cannot be told apart"),
        ("other_classes", '["../x"]', "path separator"),
        ("contract_version", "1", "its outputs are"),
        ("contract_version", "3", "this runtime reads versions 1 and 2"),
    ],
)
def test_a_file_that_breaks_version_2_is_refused(
    tmp_path: Path, entry: str, value: str | None, message: str
) -> None:
    path = band_model(tmp_path / "m.onnx", other_threshold=0.5, metadata={entry: value})
    with pytest.raises(ModelFileError, match=message):
        EmotionClassifier(path)


@pytest.mark.parametrize("other", [[0.5], [0.5, 0.5, 1.5], [0.5, 0.5, "x"], None, 7, [1e300] * 3])
def test_golden_values_of_other_are_checked(
    classifier: EmotionClassifier, tmp_path: Path, other: object
) -> None:
    golden = json.loads(classifier.contract.golden.to_json()) | {"other": other}
    metadata: dict[str, str | None] = {"golden": json.dumps(golden)}
    path = band_model(tmp_path / "m.onnx", other_threshold=0.5, metadata=metadata)
    with pytest.raises(ModelFileError, match=r"emotion_edge\.golden"):
        EmotionClassifier(path)


def test_the_contract_of_version_2_is_written_and_read(classifier: EmotionClassifier) -> None:
    contract = classifier.contract
    assert (contract.version, contract.other_threshold, contract.other_classes) == (2, 0.5, (DARK,))
    assert contract.describe()["other_threshold"] == 0.5
    assert contract.to_metadata()["emotion_edge.contract_version"] == "2"


def test_the_self_test_compares_other(other_model: Path, tmp_path: Path) -> None:
    test = EmotionClassifier(other_model).self_test()
    assert test.passed
    assert test.other_difference is not None
    assert test.other_difference < 1e-6
    off = band_model(tmp_path / "m.onnx", other_threshold=0.5, golden_other_offset=0.01)
    failed = EmotionClassifier(off).self_test()
    assert not failed.passed
    assert "output other" in failed.failures()[0]
    assert compute_other_tolerance(1e-3, 1.0) == 5e-4


def test_every_format_has_a_column_of_other(
    infer: Run, other_model: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / DARK / "9.png").write_bytes(b"no picture")
    arguments = (folder, "-m", other_model, "-o", tmp_path / "out", "-f")
    assert infer(*arguments, "csv").exit_code == 1
    rows = table(tmp_path / "out")
    assert list(rows[0]) == ["path", "label", "confidence", *CLASSES, "other", "error"]
    labels = {Path(row["path"]).parent.name: row["label"] for row in rows if row["label"]}
    assert labels == {**{name: name for name in CLASSES}, DARK: "other", "fear": "sad"}
    infer(*arguments, "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert all("other" in line for line in lines)
    assert [line["other"] for line in lines if line["error"]] == [None]
    result = infer(folder, "-m", other_model)
    assert result.stdout.splitlines()[0].split() == [
        "label",
        "confidence",
        *CLASSES,
        "other",
        "path",
    ]
    summary = "11 pictures: happy 2, sad 3, surprise 2, other 3; 1 could not be read"
    assert summary in result.stderr


def test_the_option_overrides_the_threshold(
    infer: Run, other_model: Path, model_file: Path, folder: Path
) -> None:
    result = infer(folder / DARK, "-m", other_model, "--other-threshold", 1)
    assert "other 0" in result.stderr
    result = infer(folder, "-m", model_file, "--other-threshold", 0.5)
    assert result.exit_code == 2
    assert "has no output other" in result.stderr


def test_resuming_with_another_threshold_is_refused(
    infer: Run, other_model: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    arguments = (folder, "-m", other_model, "-f", "jsonl", "-o", output, "--resume")
    assert infer(*arguments).exit_code == 0
    assert "complete already" in infer(*arguments).stderr
    result = infer(*arguments, "--other-threshold", 0.25)
    assert result.exit_code == 1
    assert "other_threshold 0.5 instead of 0.25" in result.stderr


def test_a_resumed_run_keeps_its_values_of_other(
    infer: Run, other_model: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    arguments = (folder, "-m", other_model, "-f", "jsonl", "-o", output, "--resume")
    infer(*arguments)
    whole = output.read_text()
    output.rename(output.with_name("out.jsonl.partial"))
    output.with_name("out.jsonl.partial").write_text("".join(whole.splitlines(True)[:4]))
    result = infer(*arguments)
    assert output.read_text() == whole
    assert "other 3" in result.stderr


def test_pictures_are_sorted_into_other_and_drawn(
    infer: Run, other_model: Path, folder: Path, tmp_path: Path
) -> None:
    target, sheet = tmp_path / "sorted", tmp_path / "sheet.png"
    infer(folder, "-m", other_model, "--sort-into", target, "--contact-sheet", sheet)
    assert len(list((target / "other").rglob("*.png"))) == 3
    assert min(Image.open(sheet).size) > 80


def test_other_is_drawn_in_gray() -> None:
    image = Image.new("RGB", (200, 200), "white")
    face = FacePrediction("other", 0.9, {"a": 0.5, "b": 0.5}, other=0.9, box=(20, 80, 100, 100))
    draw_faces(image, [face], ["a", "b"])
    assert image.getpixel((20, 130)) == (187, 187, 187)


class WholePicture:
    """A detector whose only face is the whole picture."""

    def detect(self, pixels: np.ndarray) -> list[Detection]:
        return [Detection(Box(2, 2, pixels.shape[1] - 4, pixels.shape[0] - 4), 0.99)]


def test_faces_of_photographs_get_other(classifier: EmotionClassifier) -> None:
    picture = np.stack([np.kron(dark_face(), np.ones((5, 5), np.uint8))] * 3, axis=-1)
    face_classifier = FaceClassifier(classifier, FaceFinder(WholePicture()))
    (face,) = face_classifier.predict(picture)
    (again,) = face_classifier.predict_many([picture])
    assert face == again
    assert face.label == "other"
    assert face.other == face.confidence


def test_a_video_smooths_other_as_it_smooths_the_labels(classifier: EmotionClassifier) -> None:
    def photograph(face: np.ndarray) -> np.ndarray:
        return np.stack([np.kron(face, np.ones((5, 5), np.uint8))] * 3, axis=-1)

    frames = [Frame(0, 0.0, photograph(dark_face())), Frame(1, 0.1, photograph(band_face(0)))]
    found = [
        face
        for _, faces in predict_frames(
            FaceClassifier(classifier, FaceFinder(WholePicture())), frames
        )
        for face in faces
    ]
    first, second = (face.other or 0.0 for face in found)
    assert first > 0.9
    # After 0.1 s, with a time constant of 0.3 s, the new frame has 28 % of the weight.
    assert second == pytest.approx(first * np.exp(-0.1 / 0.3), abs=0.02)
    assert [face.label for face in found] == ["other", "other"]


# ---- emotion-eval


def test_every_figure_is_documented(evaluate: Run, other_model: Path, folder: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "results.md"
    section = page.read_text(encoding="utf-8").partition("## Figures of `emotion-eval`")[2]
    section = section.partition("\n## ")[0]
    found = json.loads(evaluate(folder, "-m", other_model, "-f", "json").stdout)
    names = {name for name in found if name != "other"}
    names |= {f"other.{name}" for name in found["other"]}
    assert [name for name in sorted(names) if f"`{name}`" not in section] == []


def test_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    known, others = rng.beta(2, 4, 300).round(2), rng.beta(4, 2, 200).round(2)  # with ties
    open_set = OpenSet(known, rng.random(300) < 0.9, others)
    truth = np.r_[np.zeros(300), np.ones(200)]
    assert open_set.auroc() == pytest.approx(roc_auc_score(truth, np.r_[known, others]))
    x, y = open_set.roc()
    assert auc(x, y) == pytest.approx(open_set.auroc())
    assert OpenSet(known, known > 0, others[:0]).auroc() is None


def test_risk_and_coverage_count_faces_of_equal_values_together() -> None:
    known, right = np.array([0.1, 0.2, 0.2, 0.9]), np.array([True, True, False, True])
    open_set = OpenSet(known, right, np.array([0.2, 0.95]))
    coverage, risk = open_set.risk_coverage()
    np.testing.assert_allclose(coverage, [1 / 6, 4 / 6, 5 / 6, 1])
    np.testing.assert_allclose(risk, [0, 2 / 4, 2 / 5, 3 / 6])
    point = open_set.at(0.2)
    assert (point.named, point.named_correctly, point.others_named) == (1, 1, 0)
    assert open_set.at(1).others_named == 2
    matrix = count_confusion(np.array([0, 2, 1]), np.array([0, 0, 2]), 2)
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_an_evaluation_measures_other(
    evaluate: Run, other_model: Path, folder: Path, tmp_path: Path
) -> None:
    wrong, curves, matrix = (tmp_path / name for name in ("w.csv", "c.png", "m.png"))
    result = evaluate(
        *(folder, "-m", other_model, "-f", "json", "--wrong", wrong),
        *("--other-curves", curves, "--confusion-matrix", matrix),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["accuracy"] == found["coverage"] == 1
    assert found["other"]["labels"] == [*CLASSES, "other"]
    assert found["other"]["confusion_matrix"] == [
        *([2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 1, 0, 3]),
    ]
    assert found["other"]["others_unnamed"] == 0.75
    assert (found["other"]["pictures"], found["other"]["other_pictures"]) == (6, 4)
    assert found["other_folders"] == {
        "fear": {"pictures": 1, "labelled": 1},
        DARK: {"pictures": 3, "labelled": 0},
    }
    (row,) = table(wrong)
    assert (row["true_label"], row["predicted_label"]) == ("fear", "sad")
    for picture in (curves, matrix):
        assert min(Image.open(picture).size) > 300
    text = evaluate(folder, "-m", other_model).stdout
    assert "pictures           6 of the labels, 4 of other classes" in text
    assert "the most probable label without regard to other" in text
    assert "right label        100.00% of the 6 pictures of the labels" in text
    assert "no label           75.00% of the 4 pictures of other classes" in text
    assert "right in all       90.00% of 10 pictures" in text
    assert (found["right_label"], found["others_without_label"]) == (1, 0.75)
    assert (found["all_pictures"], found["accuracy_with_other"]) == (10, 0.9)
    assert "(6 pictures of the labels, 4 others)" in text
    assert "Most probable label of the 6 pictures:" in text
    assert "10 pictures at an other threshold of 0.50:" in text
    assert "other                      0        1         0        3" in text


def test_a_face_with_the_label_other_is_not_covered(
    evaluate: Run, other_model: Path, folder: Path
) -> None:
    save_face(folder / "surprise" / "dark.png", 3, 77)
    found = json.loads(evaluate(folder, "-m", other_model, "-f", "json").stdout)
    assert found["coverage"] == found["right_label"] == round(6 / 7, 6)
    assert found["accuracy"] == 1
    # Nothing but a missing label is wrong: there is a picture to look at all the same.
    for name in (DARK, "fear"):
        shutil.rmtree(folder / name)
    result = evaluate(folder, "-m", other_model)
    assert "--contact-sheet wrong.png" in result.stderr
    assert "right label        85.71% of the 7 pictures of the labels" in result.stdout
    assert "right in all" not in result.stdout
    everything = evaluate(folder, "-m", other_model, "-f", "json", "--other-threshold", 1)
    assert json.loads(everything.stdout)["coverage"] == 1


def test_the_confidence_threshold_counts_for_labels_and_not_for_the_accuracy(
    evaluate: Run, other_model: Path, folder: Path
) -> None:
    arguments = (folder, "-m", other_model, "--min-confidence", 1)
    found = json.loads(evaluate(*arguments, "-f", "json").stdout)
    assert (found["accuracy"], found["right_label"]) == (1, 0)
    assert found["others_without_label"] == 1  # the picture of fear is uncertain
    assert found["accuracy_with_other"] == 0.4
    text = evaluate(*arguments).stdout
    assert "without regard to other and the confidence threshold" in text
    assert "at an other threshold of 0.50, at any confidence:" in text


def test_pictures_of_a_folder_uncertain_are_left_out(
    evaluate: Run, other_model: Path, model_file: Path, folder: Path
) -> None:
    save_face(folder / "uncertain" / "0.png", 0, 5)
    result = evaluate(folder, "-m", other_model, "-f", "json")
    found = json.loads(result.stdout)
    assert found["other"]["other_pictures"] == 4
    assert found["all_pictures"] == 10
    for model in (other_model, model_file):
        result = evaluate(folder, "-m", model)
        assert "1 picture of the folder uncertain: what they show is not known" in result.stderr
        assert "uncertain: 1 picture left out, which may show any class" in result.stdout
        assert "of the labels, 4 of other classes" in result.stdout


def test_curves_need_the_output_and_other_folders(
    evaluate: Run, other_model: Path, model_file: Path, folder: Path, tmp_path: Path
) -> None:
    curves = ("--other-curves", tmp_path / "c.png")
    result = evaluate(folder, "-m", model_file, *curves)
    assert result.exit_code == 2
    assert "needs a model with the output other" in result.stderr
    for name in (DARK, "fear"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()
    result = evaluate(folder, "-m", other_model, *curves)
    assert result.exit_code == 2
    assert "needs folders of other classes" in result.stderr
    assert "not defined without pictures" in evaluate(folder, "-m", other_model).stdout


def test_ray_has_a_column_of_other(other_model: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from emotion_runtime.ray.worker import Predictor, make_columns, make_schema

    predictor = Predictor(str(other_model))
    predictions = list(predictor.classifier.predict_many([dark_face(), b"no picture"]))
    values = make_columns(
        predictions, CLASSES, predictor.classifier.prediction_type, with_other=predictor.with_other
    )
    types = make_schema(CLASSES, predictor.classifier.prediction_type, with_other=True)
    assert (
        list(values) == types.names == ["path", "label", "confidence", *CLASSES, "other", "error"]
    )
    assert values["label"][0] == "other"
    assert values["other"].tolist() == [predictions[0].other, None]
