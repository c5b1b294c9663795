from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper
from PIL import Image

import emotion_models
import emotion_runtime
from emotion_runtime import (
    EmotionClassifier,
    FaceClassifier,
    ModelFileError,
    PictureError,
    SourceError,
    errors,
)
from emotion_runtime.digest import compute_sha256
from synthetic import CLASSES, band_face, band_model, save_face

Infer = Callable[..., Result]


def test_a_picture_may_be_a_path_bytes_an_image_or_an_array(
    model_file: Path, tmp_path: Path
) -> None:
    classifier = EmotionClassifier(model_file)
    path = save_face(tmp_path / "a.png", 2)
    for picture in (path, str(path), path.read_bytes(), Image.open(path), band_face(2)):
        prediction = classifier.predict(picture)
        assert prediction.label == "surprise"
        assert prediction.confidence == max(prediction.probabilities.values())
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert tuple(prediction.probabilities) == CLASSES
        assert prediction.error is None


def test_predict_raises_for_a_bad_picture_and_a_stream_reports_it(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file)
    with pytest.raises(PictureError, match=r"gone\.png"):
        classifier.predict("gone.png")
    predictions = list(classifier.predict_many([band_face(0), "gone.png", band_face(1)]))
    assert [a.label for a in predictions] == ["happy", None, "sad"]
    assert predictions[1].probabilities is None
    assert predictions[1].path == "gone.png"
    assert "No such file" in str(predictions[1].error)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_is_kept_at_every_batch_size(
    model_file: Path, tmp_path: Path, batch_size: int
) -> None:
    labels = [0, 2, 1, 1, 0, 2, 2]
    for number, label in enumerate(labels):
        save_face(tmp_path / f"{number}.png", label, number)
    predictions = EmotionClassifier(model_file).predict_folder(tmp_path, batch_size=batch_size)
    assert [a.label for a in predictions] == [CLASSES[label] for label in labels]


def test_a_stream_reads_only_some_batches_ahead(model_file: Path) -> None:
    taken = []

    def endless():  # type: ignore[no-untyped-def]
        while True:
            taken.append(1)
            yield band_face(0)

    stream = EmotionClassifier(model_file).predict_many(endless(), batch_size=4, workers=2)
    for _ in range(20):
        next(stream)
    assert len(taken) <= 20 + (2 * 2 + 2) * 4
    stream.close()  # ends the workers


def test_missing_folder_is_named(model_file: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        EmotionClassifier(model_file).predict_folder("nowhere")


def test_a_confidence_equal_to_the_threshold_gets_its_label(model_file: Path) -> None:
    """0.9 of the network, which is float32, is a little less than Python's."""
    classifier = EmotionClassifier(model_file, min_confidence=0.9)
    rest = np.float32(0.05)
    assert classifier.interpret(np.array([0.9, rest, rest], np.float32)).label == CLASSES[0]
    below = np.nextafter(np.float32(0.9), np.float32(0))
    assert classifier.interpret(np.array([below, rest, rest], np.float32)).label == "uncertain"


def test_low_confidence_is_uncertain(tmp_path: Path) -> None:
    path = band_model(tmp_path / "m.onnx", min_confidence=0.9999)
    flat = np.full((48, 48), 100, np.uint8)
    prediction = EmotionClassifier(path).predict(flat)
    assert prediction.label == "uncertain"
    assert prediction.confidence == pytest.approx(1 / 3, abs=1e-3)
    assert EmotionClassifier(path, min_confidence=0).predict(flat).label in CLASSES


def test_predict_may_be_called_from_threads(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file)
    with ThreadPoolExecutor(4) as pool:
        predictions = list(
            pool.map(lambda n: classifier.predict(band_face(n % 3, n)).label, range(60))
        )
    assert predictions == [CLASSES[n % 3] for n in range(60)]


def test_the_self_test_fails_for_a_bad_file(model_file: Path, tmp_path: Path) -> None:
    assert EmotionClassifier(model_file).self_test().passed
    bad = EmotionClassifier(band_model(tmp_path / "bad.onnx", golden_offset=0.5)).self_test()
    assert not bad.passed
    assert bad.max_difference == pytest.approx(0.5, abs=1e-3)


def test_a_small_difference_of_all_logits_fails_by_its_mean(tmp_path: Path) -> None:
    offset = 5e-4  # within the tolerance of a single logit
    path = band_model(tmp_path / "near.onnx", golden_offset=offset)
    assert EmotionClassifier(path).self_test().passed, "a file of before there was a limit"
    model = onnx.load(path)
    entry = next(one for one in model.metadata_props if one.key == "emotion_edge.golden")
    entry.value = json.dumps(json.loads(entry.value) | {"mean_tolerance": 1e-4})
    onnx.save(model, path)
    test = EmotionClassifier(path).self_test()
    assert test.mean_difference == pytest.approx(offset, rel=0.01)
    (failure,) = test.failures()
    assert "the mean logit difference is 0.0005 (allowed 0.0001)" in failure


def test_a_changed_weight_fails_though_no_golden_input_shows_it(
    infer: Infer, tmp_path: Path
) -> None:
    path = band_model(tmp_path / "m.onnx")
    assert EmotionClassifier(path).self_test().graph_changed is None, "an earlier file"
    model = onnx.load(path)
    entry = model.metadata_props.add()
    digest = hashlib.sha256(model.graph.SerializeToString()).hexdigest()
    entry.key, entry.value = "emotion_edge.graph_sha256", digest
    onnx.save(model, path)
    test = EmotionClassifier(path).self_test()
    assert test.passed
    assert test.graph_changed is False
    assert "operators and weights as exported" in infer("--self-test", "-m", path).stdout
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 0] += 1e-9
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    onnx.save(model, path)
    test = EmotionClassifier(path).self_test()
    assert test.max_difference <= test.tolerance
    assert test.failures() == [
        "the operators or weights in the file have changed since it was exported"
    ]
    failed = infer("--self-test", "-m", path)
    assert failed.exit_code == 1
    assert "weights in the file have changed" in failed.stderr


def test_the_public_names_are_consistent() -> None:
    """`__all__`, the names that load on first use, and those of type checkers are the same."""
    for name in emotion_runtime.__all__:
        assert getattr(emotion_runtime, name) is not None
        assert name in dir(emotion_runtime)
    assert list(emotion_runtime.__all__) == sorted(set(emotion_runtime.__all__))
    tree = ast.parse(Path(emotion_runtime.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }
    assert seen | {"__version__"} == set(emotion_runtime.__all__)
    with pytest.raises(AttributeError):
        _ = emotion_runtime.nothing


def test_every_error_of_the_runtime_is_public() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert len(found) >= 7
    assert found <= set(emotion_runtime.__all__)


def test_a_classifier_shows_its_model_labels_and_threads(model_file: Path) -> None:
    text = repr(EmotionClassifier(model_file, threads=2, min_confidence=0.25))
    for part in (str(model_file), "happy", "surprise", "threads=2", "min_confidence=0.25"):
        assert part in text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
        ({"threads": -2}, ValueError, "threads"),
        ({"threads": 1025}, ValueError, "threads must be at most 1024, not 1025"),
        ({"threads": 10**30}, ValueError, "threads must be at most 1024"),
        ({"threads": True}, TypeError, "threads must be an integer"),
        ({"threads": 1.5}, TypeError, "threads must be an integer"),
        ({"threads": None}, TypeError, "threads must be an integer"),
        ({"min_confidence": -0.1}, ValueError, "min_confidence must be from 0 to 1"),
        ({"min_confidence": 50}, ValueError, "min_confidence must be from 0 to 1"),
        ({"min_confidence": float("nan")}, ValueError, "min_confidence must be from 0 to 1"),
    ],
)
def test_an_invalid_option_is_refused(
    model_file: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        EmotionClassifier(model_file, **options)


@pytest.mark.parametrize("kind", [EmotionClassifier, FaceClassifier])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 2.5}, TypeError),
        ({"workers": 0}, ValueError),
        ({"workers": -1}, ValueError),
        ({"workers": 10**30}, ValueError),
        ({"processes": 1025}, ValueError),
        ({"processes": 10**30}, ValueError),
        ({"workers": "all"}, TypeError),
    ],
)
def test_a_stream_refuses_such_options_when_it_is_made(
    model_file: Path, kind: type, options: dict[str, Any], error: type[Exception]
) -> None:
    classifier: Any = EmotionClassifier(model_file)
    if kind is FaceClassifier:
        classifier = FaceClassifier(classifier)
    with pytest.raises(error, match=next(iter(options))):
        classifier.predict_many([band_face(0)], **options)


@pytest.mark.parametrize(
    "picture", [[band_face(0)], ["a.png"], None, 3, {"path": "a.png"}, object()]
)
def test_an_object_that_is_not_a_picture_is_a_type_error_and_in_a_stream_an_error(
    model_file: Path, picture: Any
) -> None:
    classifier = EmotionClassifier(model_file)
    face_classifier = FaceClassifier(classifier)
    for method in (classifier.predict, face_classifier.predict, classifier.read):
        with pytest.raises(TypeError, match=f"a picture is .*, not {type(picture).__name__}"):
            method(picture)
    mixed = [band_face(0), picture, band_face(1), band_face(2)]
    for workers in (1, 2):
        predictions = list(classifier.predict_many(mixed, workers=workers))
        assert [one.label for one in predictions] == ["happy", None, "sad", "surprise"]
        assert "a picture is a path" in str(predictions[1].error)
        assert predictions[1].path is None
        faces = list(face_classifier.predict_many([picture, band_face(1)], workers=workers))
        assert "a picture is a path" in str(faces[0].error)
        assert faces[1].error is None


@pytest.mark.parametrize(
    "pictures",
    [
        "photo.jpg",
        Path("photo.jpg"),
        b"\xff\xd8",
        Image.new("L", (48, 48)),
        band_face(0),
        None,
        7,
        np.zeros((48, 48, 3), np.uint8),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_picture_is_refused_as_a_stream(model_file: Path, pictures: Any) -> None:
    """A string would be iterated by letters, an array by rows."""
    classifier = EmotionClassifier(model_file)
    for method in (classifier.predict_many, FaceClassifier(classifier).predict_many):
        with pytest.raises(TypeError, match=r"several pictures|must be iterable"):
            method(pictures)


def test_an_array_of_gray_pictures_is_a_stream(model_file: Path) -> None:
    faces = np.stack([band_face(n) for n in (2, 0, 1)])
    predictions = EmotionClassifier(model_file).predict_many(faces)
    assert [one.label for one in predictions] == ["surprise", "happy", "sad"]


@pytest.mark.parametrize(
    ("pixels", "error", "message"),
    [
        (np.zeros((2, 48, 48), np.float32), TypeError, "array of uint8, not float32"),
        ([[0] * 48] * 48, TypeError, "array of uint8, not list"),
        (np.zeros((48, 48), np.uint8), ValueError, r"shape \(n, 1, 48, 48\)"),
        (np.zeros((2, 3, 48, 48), np.uint8), ValueError, r"not \(2, 3, 48, 48\)"),
        (np.zeros((1, 64, 64), np.uint8), ValueError, r"not \(1, 1, 64, 64\)"),
        (np.array(3, np.uint8), ValueError, "shape"),
    ],
)
def test_infer_refuses_other_pixels(
    model_file: Path, pixels: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        EmotionClassifier(model_file).infer(pixels)


def test_infer_accepts_zero_faces_and_any_memory_layout(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file)
    logits, probabilities = classifier.infer(np.zeros((0, 1, 48, 48), np.uint8))
    assert logits.shape == probabilities.shape == (0, 3)
    faces = np.stack([band_face(n) for n in range(3)])
    turned = np.asfortranarray(faces)
    np.testing.assert_array_equal(classifier.infer(turned)[0], classifier.infer(faces)[0])


def test_interpret_refuses_values_that_are_not_probabilities(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file)
    for row in ([0.5, float("nan"), 0.5], [1.0, 1.0, 1.0], [float("inf"), 0, 0]):
        with pytest.raises(ModelFileError, match=f"{model_file}: .*not probabilities"):
            classifier.interpret(np.array(row, np.float32))
    with pytest.raises(ValueError, match="2 probabilities for 3 labels"):
        classifier.interpret(np.array([0.5, 0.5], np.float32))


def test_the_digest_is_that_of_the_file_that_was_opened(tmp_path: Path) -> None:
    path = band_model(tmp_path / "m.onnx")
    classifier, digest = EmotionClassifier(path), compute_sha256(path)
    path.write_bytes(b"something else")
    assert classifier.model_sha256 == digest != compute_sha256(path)


def test_a_temperature_that_is_not_in_the_graph_fails_the_self_test(tmp_path: Path) -> None:
    for value in ("1e300", "1e-300", "3.0"):
        model = onnx.load(emotion_models.model_path("edge-int8"))
        (entry,) = [e for e in model.metadata_props if e.key == "emotion_edge.temperature"]
        entry.value = value
        onnx.save(model, tmp_path / "m.onnx")
        result = EmotionClassifier(tmp_path / "m.onnx").self_test()
        assert not result.passed
        assert any("temperature in the metadata" in text for text in result.failures())


@pytest.mark.parametrize(
    "arguments", [{"classifier": "edge"}, {"finder": "retinaface"}, {"finder": object()}]
)
def test_a_face_classifier_refuses_arguments_of_other_types(arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="must be a"):
        FaceClassifier(**arguments)  # type: ignore[arg-type]
