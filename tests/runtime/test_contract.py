from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion_runtime import EmotionClassifier, ModelFileError
from emotion_runtime.model.contract import Contract, GoldenInputs, InputSpec
from synthetic import band_model


def make_contract() -> Contract:
    rng = np.random.default_rng(0)
    golden = GoldenInputs(
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


def test_a_contract_is_the_same_after_writing_and_reading() -> None:
    contract = make_contract()
    metadata = contract.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    read = Contract.from_metadata(metadata, "x.onnx")
    assert read.describe() == contract.describe()
    np.testing.assert_array_equal(read.golden.pixels, contract.golden.pixels)
    np.testing.assert_array_equal(read.golden.logits, contract.golden.logits)


@pytest.mark.parametrize(("text", "value"), [("-0.0", 0.0), ("1e-400", 0.0), ("5E-1", 0.5)])
def test_numbers_are_written_as_in_json(text: str, value: float) -> None:
    metadata = make_contract().to_metadata() | {"emotion_edge.min_confidence": text}
    read = Contract.from_metadata(metadata, "x.onnx").min_confidence
    assert repr(read) == repr(value)


def test_a_digest_and_a_mean_tolerance_survive_the_metadata() -> None:
    contract = make_contract()
    golden = replace(contract.golden, mean_tolerance=0.002)
    contract = replace(contract, golden=golden, graph_sha256="0f" * 32)
    read = Contract.from_metadata(contract.to_metadata(), "x.onnx")
    assert (read.golden.mean_tolerance, read.graph_sha256) == (0.002, "0f" * 32)
    older = Contract.from_metadata(make_contract().to_metadata(), "x.onnx")
    assert (older.golden.mean_tolerance, older.graph_sha256) == (None, "")


def test_an_early_file_passes_its_self_test(tmp_path: Path) -> None:
    """Files of version 1 had no digest, mean tolerance and probe, and NaN for missing figures."""
    metadata: dict[str, str | None] = {"metrics": '{"test": {"accuracy": NaN}}'}
    classifier = EmotionClassifier(band_model(tmp_path / "m.onnx", metadata=metadata))
    contract = classifier.contract
    assert (contract.version, contract.graph_sha256) == (1, "")
    assert contract.golden.probe is None
    assert contract.golden.mean_tolerance is None
    assert contract.metrics == {"test": {"accuracy": None}}
    test = classifier.self_test()
    assert test.passed
    assert (test.graph_changed, test.pixel_difference, test.other_difference) == (None, None, None)


def golden(**changes: object) -> str:
    """Return valid golden inputs with changes."""
    values: dict[str, object] = {
        "shape": [3, 1, 48, 48],
        "pixels": base64.b64encode(bytes(3 * 48 * 48)).decode(),
        "logits": [[1, 2, 3]] * 3,
        "tolerance": 0.001,
    }
    return json.dumps(values | changes)


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
        ("temperature", "nan", "emotion_edge.temperature"),
        ("temperature", "1e999", "emotion_edge.temperature"),
        ("temperature", "0", "emotion_edge.temperature"),
        ("temperature", "-1", "emotion_edge.temperature"),
        ("min_confidence", "nan", "emotion_edge.min_confidence"),
        ("min_confidence", "1.01", "emotion_edge.min_confidence"),
        ("min_confidence", "-0.1", "emotion_edge.min_confidence"),
        ("min_confidence", "1" * 5000, "emotion_edge.min_confidence"),
        ("precision", "fp99", "emotion_edge.precision is not one of fp32, fp16, int8"),
        ("network", "n" * 201, "emotion_edge.network is longer than 200"),
        ("contract_version", "9\x1b[2J" * 99, r"contract version '9\\x1b\[2J"),
        # JSON that cannot be read, or not written again.
        ("metrics", "[" * 985 + "]" * 985, "emotion_edge.metrics"),
        ("metrics", "[" * 100_000, "emotion_edge.metrics"),
        ("metrics", '{"a":' * 30 + "1" + "}" * 30, "emotion_edge.metrics"),
        ("metrics", '{"a": 1' + "0" * 400 + "}", "emotion_edge.metrics"),
        ("metrics", '{"a": 1' + "0" * 5000 + "}", "emotion_edge.metrics"),
        ("metrics", '{"a": 1e999}', "emotion_edge.metrics"),
        ("training", '{"\\ud800": 1}', "emotion_edge.training"),
        ("training", "[]", "emotion_edge.training"),
        # Labels that no class may have.
        ("labels", '["happy", "sad", "\\ud800"]', "emotion_edge.labels"),
        ("labels", '["happy", "sad", "../../escape"]', "path separator"),
        ("labels", '["happy", "sad", "C:\\\\x"]', "path separator"),
        ("labels", '["happy", "sad", "a\\u0000"]', "control character"),
        ("labels", '["happy", "sad", "\\u001b[2J"]', "control character"),
        ("labels", '["happy", "sad", "a\\u202eb"]', "invisible character"),
        ("labels", '["happy", "sad", "sad\\u200d"]', "cannot be told apart"),
        ("labels", '["happy", "sad", "\\u200d"]', "the name is empty"),
        ("min_confidence", "0_1", "emotion_edge.min_confidence"),
        ("min_confidence", " 0.5", "emotion_edge.min_confidence"),
        ("min_confidence", "０.５", "emotion_edge.min_confidence"),
        ("labels", '["happy", "sad", ".."]', "folder of the file system"),
        ("labels", '["happy", "sad", ""]', "empty"),
        ("labels", '["happy", "sad", "sad"]', "cannot be told apart"),
        ("labels", '["happy", "sad", "path"]', "reserved"),
        ("labels", '["happy", "sad", "uncertain"]', "reserved"),
        ("labels", '["happy", "sad", 3]', "not text"),
        ("labels", json.dumps([f"c{n}" for n in range(1001)]), "emotion_edge.labels"),
        ("input", json.dumps({"size": 10**400}), "emotion_edge.input"),
        ("input", json.dumps({"size": 2**40}), "not of a size from 1 to 1024"),
        ("input", json.dumps({"size": 1025}), "not of a size from 1 to 1024"),
        ("input", json.dumps({"size": 0}), "not of a size"),
        ("input", json.dumps({"size": True}), "not of a size"),
        ("input", json.dumps({"size": 48.0}), "not of a size"),
        ("input", json.dumps({"size": [48]}), "not of a size"),
        ("input", json.dumps({"size": 48, "\x1b[2J": 1}), "emotion_edge.input"),
        ("input", json.dumps({"size": 48, "colour": "x" * 9000}), "preprocessing"),
        ("golden", "{}", "emotion_edge.golden"),
        ("golden", "[]", "emotion_edge.golden"),
        ("golden", "[" * 100_000, "emotion_edge.golden"),
        ("golden", golden(shape=[3, 1, 24, 96]), "emotion_edge.golden"),
        ("golden", golden(shape=[10**400, 1, 48, 48]), "emotion_edge.golden"),
        ("golden", golden(shape=[0, 1, 48, 48], pixels="", logits=[]), "emotion_edge.golden"),
        ("golden", golden(shape="x"), "emotion_edge.golden"),
        ("golden", golden(pixels="====="), "emotion_edge.golden"),
        ("golden", golden(pixels=["x"]), "emotion_edge.golden"),
        ("golden", golden(logits=[[1, 2], [3, 4], [5, 6]]), "emotion_edge.golden"),
        ("golden", golden(logits=[[1, 2, 3], [4, 5], [6]]), "emotion_edge.golden"),
        ("golden", golden(logits=[[1, 2, float("nan")]] * 3), "emotion_edge.golden"),
        ("golden", golden(logits=[[1, 2, 10**400]] * 3), "emotion_edge.golden"),
        ("golden", golden(logits=[[1, 2, 1e300]] * 3), "emotion_edge.golden"),
        ("golden", golden(logits=[[1, 2, {}]] * 3), "emotion_edge.golden"),
        ("golden", golden(tolerance=float("nan")), "emotion_edge.golden"),
        ("golden", golden(tolerance=float("inf")), "emotion_edge.golden"),
        ("golden", golden(tolerance=-1), "emotion_edge.golden"),
        ("golden", golden(tolerance=10**400), "emotion_edge.golden"),
        ("golden", golden(tolerance=None), "emotion_edge.golden"),
        ("golden", golden(probe="AAAA"), "emotion_edge.golden"),
        ("golden", golden(mean_tolerance=float("nan")), "emotion_edge.golden"),
        ("golden", golden(mean_tolerance=-1), "emotion_edge.golden"),
        ("golden", golden(mean_tolerance=None), "emotion_edge.golden"),
        ("graph_sha256", "0" * 63, "emotion_edge.graph_sha256 is no SHA-256"),
        ("graph_sha256", "G" * 64, "emotion_edge.graph_sha256 is no SHA-256"),
        ("golden", golden(probe=7), "emotion_edge.golden"),
        ("input", "[]", "emotion_edge.input"),
        (
            "input",
            json.dumps({"size": 48, "colour": "rgb", "resize": "nearest", "aspect": "stretch"}),
            "preprocessing",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_file_that_breaks_the_contract_is_refused(
    tmp_path: Path, entry: str, value: str | None, message: str
) -> None:
    path = band_model(tmp_path / "m.onnx", metadata={entry: value})
    with pytest.raises(ModelFileError, match=message) as caught:
        EmotionClassifier(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 500


def test_a_graph_that_differs_from_the_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="input is"):
        EmotionClassifier(band_model(tmp_path / "a.onnx", input_name="image"))
    with pytest.raises(ModelFileError, match="batch size is fixed"):
        EmotionClassifier(band_model(tmp_path / "b.onnx", batch=1))


def test_files_that_are_not_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        EmotionClassifier(tmp_path / "missing.onnx")


def test_more_metadata_than_the_limit_is_refused() -> None:
    metadata = make_contract().to_metadata() | {"emotion_edge.training": " " * 2**24}
    with pytest.raises(ModelFileError, match="more than 16 MiB of metadata"):
        Contract.from_metadata(metadata, "x.onnx")


def test_figures_that_are_not_finite_are_written_as_null() -> None:
    metrics = {"test": {"accuracy": float("nan"), "recalls": [float("inf"), 0.5]}}
    metadata = replace(make_contract(), metrics=metrics).to_metadata()
    expected = {"test": {"accuracy": None, "recalls": [None, 0.5]}}
    assert json.loads(metadata["emotion_edge.metrics"]) == expected
    # Earlier versions wrote them as NaN, which is not JSON; it is read as "not measured".
    metadata["emotion_edge.metrics"] = json.dumps(metrics)
    assert Contract.from_metadata(metadata, "x.onnx").metrics == expected


@pytest.mark.parametrize(
    "labels", [("happy", "error"), ("a/b", "c"), ("x", "X"), ("one", ""), ("a", "\ud800")]
)
def test_no_file_is_written_with_a_label_that_would_be_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ModelFileError, match="no model file can be written"):
        replace(make_contract(), labels=labels).to_metadata()


def test_no_file_is_written_with_a_size_that_would_be_refused() -> None:
    with pytest.raises(ModelFileError, match="1025 pixels"):
        replace(make_contract(), input=InputSpec(size=1025)).to_metadata()


@pytest.mark.parametrize(
    "labels",
    [["happy", "x" * 100_000], ["\x1b" * 50_000, "sad"], ["y" * 200, "Y" * 200], [["a"] * 9]],
)
def test_a_label_of_any_length_is_refused_in_a_short_sentence(labels: list[Any]) -> None:
    metadata = make_contract().to_metadata() | {"emotion_edge.labels": json.dumps(labels)}
    with pytest.raises(ModelFileError) as caught:
        Contract.from_metadata(metadata, "x.onnx")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
