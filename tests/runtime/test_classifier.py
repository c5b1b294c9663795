from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emotion_runtime
from emotion_runtime import EmotionClassifier, PictureError, SourceError
from synthetic import CLASSES, band_face, band_model, save_face


def test_one_picture_in_every_form(model_file: Path, tmp_path: Path) -> None:
    classifier = EmotionClassifier(model_file)
    path = save_face(tmp_path / "a.png", 2)
    for picture in (path, str(path), path.read_bytes(), Image.open(path), band_face(2)):
        answer = classifier.predict(picture)
        assert answer.label == "surprise"
        assert answer.confidence == max(answer.probabilities.values())
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert tuple(answer.probabilities) == CLASSES
        assert answer.error is None


def test_predict_raises_for_a_bad_picture_and_a_stream_answers_it(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file)
    with pytest.raises(PictureError, match=r"gone\.png"):
        classifier.predict("gone.png")
    answers = list(classifier.predict_many([band_face(0), "gone.png", band_face(1)]))
    assert [a.label for a in answers] == ["happy", None, "sad"]
    assert answers[1].probabilities is None
    assert answers[1].path == "gone.png"
    assert "No such file" in str(answers[1].error)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_is_kept_at_every_batch_size(
    model_file: Path, tmp_path: Path, batch_size: int
) -> None:
    labels = [0, 2, 1, 1, 0, 2, 2]
    for number, label in enumerate(labels):
        save_face(tmp_path / f"{number}.png", label, number)
    answers = EmotionClassifier(model_file).predict_folder(tmp_path, batch_size=batch_size)
    assert [a.label for a in answers] == [CLASSES[label] for label in labels]


def test_a_stream_is_read_no_further_than_some_batches_ahead(model_file: Path) -> None:
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


def test_low_confidence_is_uncertain(tmp_path: Path) -> None:
    path = band_model(tmp_path / "m.onnx", min_confidence=0.9999)
    flat = np.full((48, 48), 100, np.uint8)
    answer = EmotionClassifier(path).predict(flat)
    assert answer.label == "uncertain"
    assert answer.confidence == pytest.approx(1 / 3, abs=1e-3)
    assert EmotionClassifier(path, min_confidence=0).predict(flat).label in CLASSES


def test_predict_may_be_called_from_threads(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: classifier.predict(band_face(n % 3, n)).label, range(60)))
    assert answers == [CLASSES[n % 3] for n in range(60)]


def test_self_test_tells_a_good_file_from_a_bad_one(model_file: Path, tmp_path: Path) -> None:
    assert EmotionClassifier(model_file).self_test().passed
    bad = EmotionClassifier(band_model(tmp_path / "bad.onnx", golden_offset=0.5)).self_test()
    assert not bad.passed
    assert bad.max_difference == pytest.approx(0.5, abs=1e-3)


def test_the_public_names_are_those_of_all() -> None:
    for name in emotion_runtime.__all__:
        assert getattr(emotion_runtime, name) is not None
    with pytest.raises(AttributeError):
        _ = emotion_runtime.nothing
