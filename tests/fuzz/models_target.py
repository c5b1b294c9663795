"""Fuzz target: model files in ONNX and in onnxruntime's own format, and their contract."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import emotion_models
from emotion_runtime import EmotionClassifier, ModelFileError
from emotion_runtime.model.contract import PREFIX, Contract
from fuzz.mutation import field, json_text, mutate_bytes, mutate_json, mutate_protobuf
from fuzz.target import Target, check_sentence
from synthetic import band_model

_JSON_PARTS = ("labels", "input", "metrics", "parity", "training", "tool_versions", "golden")
_JSON_PARTS += ("other_classes",)


@cache
def _bands() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return band_model(Path(folder) / "m.onnx").read_bytes()


@cache
def _bands_with_other() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return band_model(Path(folder) / "m.onnx", other_threshold=0.5).read_bytes()


@cache
def _metadata_with_other() -> dict[str, str]:
    model = onnx.load_from_string(_bands_with_other())
    return {one.key: one.value for one in model.metadata_props}


@cache
def _metadata() -> dict[str, str]:
    model = onnx.load_from_string(_bands())
    return {one.key: one.value for one in model.metadata_props}


@cache
def _without_metadata() -> bytes:
    model = onnx.load_from_string(_bands())
    del model.metadata_props[:]
    data: bytes = model.SerializeToString()
    return data


def with_metadata(metadata: dict[str, str]) -> bytes:
    """Return the band model with other metadata."""
    pairs = (
        field(1, key.encode("utf-8", "surrogatepass"))
        + field(2, value.encode("utf-8", "surrogatepass"))
        for key, value in metadata.items()
    )
    return _without_metadata() + b"".join(field(14, pair) for pair in pairs)


def _seeds() -> list[bytes]:
    released = emotion_models.model_path("edge-int8").read_bytes()
    return [_bands(), released, _in_ort_format(), _bands_with_other(), *_cases()]


def _in_ort_format() -> bytes:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "m.ort")
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(_bands(), options, providers=["CPUExecutionProvider"])
        return (Path(folder) / "m.ort").read_bytes()


def _cases() -> list[bytes]:
    """Return files that once caused a traceback, a hang or access to another file."""
    made = []
    golden = json.loads(_metadata()[PREFIX + "golden"])
    for name, value in (
        ("labels", '["../../escape/happy", "/tmp/sad", "surprise"]'),
        ("labels", '["ha\\u001b[31mppy", "\\ud800", "a\\u0000b"]'),
        ("contract_version", "\x1b]0;title\x07"),
        ("metrics", "[" * 985 + "]" * 985),
        ("metrics", '{"accuracy": 1' + "0" * 400 + "}"),
        ("input", '{"size": 1000000000}'),
        ("golden", json.dumps(golden | {"shape": [3, 1, 24, 96]})),
    ):
        made.append(with_metadata(_metadata() | {PREFIX + name: value}))

    def add_changed_model(change: Any) -> None:
        model = onnx.load_from_string(_bands())
        change(model)
        made.append(model.SerializeToString())

    def external(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    def loop(model: onnx.ModelProto) -> None:
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node("Loop", ["", ""], ["out"], body=body))

    def not_finite(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.raw_data = b"\xff" * len(tensor.raw_data)

    def one_row(model: onnx.ModelProto) -> None:
        model.graph.node[-1].op_type = "Identity"
        del model.graph.node[-1].attribute[:]

    for change in (external, loop, not_finite, one_row):
        add_changed_model(change)
    made.append(_bands().replace(b"emotion_edge.network", b"emotion_edge.netw\xff\xferk"))
    return made


def _mutate(random: Random, corpus: Sequence[bytes]) -> bytes:
    chance = random.random()
    if chance < 0.25:
        return with_metadata(_other_metadata(random))
    data = corpus[0] if random.random() < 0.7 else random.choice(corpus)
    if chance < 0.75:
        return mutate_protobuf(random, data, corpus)
    return mutate_bytes(random, data, corpus)


def _other_metadata(random: Random) -> dict[str, str]:
    """Return the metadata of the band model with one or two parts changed."""
    metadata = dict(random.choice((_metadata, _metadata_with_other))())
    for _ in range(random.choice((1, 2))):
        key = random.choice(list(metadata))
        if random.random() < 0.05:
            del metadata[key]
        elif key.removeprefix(PREFIX) in _JSON_PARTS:
            try:
                value = json.loads(metadata[key])
            except (ValueError, RecursionError):
                continue  # damaged a moment ago
            metadata[key] = json_text(random, mutate_json(random, value))
        else:
            metadata[key] = str(mutate_json(random, metadata[key]))[:200_000]
    return metadata


def _read(data: bytes, folder: Path) -> None:
    path = folder / "m.onnx"
    path.write_bytes(data)
    try:
        classifier = EmotionClassifier(path)
        classifier.self_test()
        size = classifier.contract.input.size
        for prediction in classifier.predict_many([np.zeros((size, size), np.uint8)] * 3):
            assert prediction.error is not None or np.isfinite(prediction.confidence or 0.0)
    except ModelFileError as error:
        check_sentence(error, folder)


def _read_contract(data: bytes, folder: Path) -> None:
    metadata = json.loads(data)
    try:
        contract = Contract.from_metadata(metadata, "m.onnx")
        # A contract that was read can be written, and reading it again gives the same.
        again = Contract.from_metadata(contract.to_metadata(), "m.onnx")
        assert again.labels == contract.labels
        json.dumps(contract.describe(), allow_nan=False).encode()
    except ModelFileError as error:
        check_sentence(error, folder)


MODELS = Target("models", _seeds, _mutate, _read)
CONTRACTS = Target(
    "contracts",
    lambda: [json.dumps(one()).encode() for one in (_metadata, _metadata_with_other)],
    lambda random, _: json.dumps(_other_metadata(random)).encode(),
    _read_contract,
)
