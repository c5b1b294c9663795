from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emotion_runtime import EmotionClassifier, ModelFileError
from emotion_runtime.contract import Contract, Golden
from synthetic import band_model


def make_contract() -> Contract:
    rng = np.random.default_rng(0)
    golden = Golden(
        rng.integers(0, 255, (2, 1, 48, 48), dtype=np.uint8),
        rng.normal(size=(2, 3)).astype(np.float32),
        1e-3,
    )
    return Contract(
        labels=("glücklich", "traurig", "überrascht"),
        network="baseline",
        golden=golden,
        temperature=1.25,
        min_confidence=0.4,
        metrics={"test": {"accuracy": 0.9}},
        training={"seed": 1},
    )


def test_a_contract_survives_the_metadata() -> None:
    contract = make_contract()
    metadata = contract.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    read = Contract.from_metadata(metadata, "x.onnx")
    assert read.describe() == contract.describe()
    np.testing.assert_array_equal(read.golden.pixels, contract.golden.pixels)
    np.testing.assert_array_equal(read.golden.logits, contract.golden.logits)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("contract_version", None, "without the emotion-edge contract"),
        ("contract_version", "99", "contract version 99"),
        ("labels", None, "emotion_edge.labels"),
        ("labels", "happy,sad", "emotion_edge.labels"),
        ("labels", '["one"]', "emotion_edge.labels"),
        ("labels", '["a", "b"]', "emotion_edge.golden"),
        ("temperature", "warm", "emotion_edge.temperature"),
        ("golden", "{}", "emotion_edge.golden"),
        ("input", "[]", "emotion_edge.input"),
        (
            "input",
            json.dumps({"size": 48, "colour": "rgb", "resize": "nearest", "aspect": "stretch"}),
            "preprocessing",
        ),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused(
    tmp_path: Path, entry: str, value: str | None, message: str
) -> None:
    path = band_model(tmp_path / "m.onnx", metadata={entry: value})
    with pytest.raises(ModelFileError, match=message) as caught:
        EmotionClassifier(path)
    assert str(path) in str(caught.value)


def test_a_graph_that_is_not_what_the_contract_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="input is"):
        EmotionClassifier(band_model(tmp_path / "a.onnx", input_name="image"))
    with pytest.raises(ModelFileError, match="batch size is fixed"):
        EmotionClassifier(band_model(tmp_path / "b.onnx", batch=1))


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        EmotionClassifier(tmp_path / "missing.onnx")
