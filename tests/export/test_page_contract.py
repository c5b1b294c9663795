"""The model file reader of the page, run in Node.js on untrusted files."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import emotion_export
from emotion_export.page.build import MAX_MODEL_BYTES
from emotion_runtime import EmotionClassifier
from emotion_runtime.labels import RESERVED_LABELS, check_labels
from synthetic import band_model

PAGE = Path(emotion_export.__file__).parent / "page"
PREFIX = "emotion_edge."


def run_node(request: dict[str, Any]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed (on Debian: apt-get install nodejs)")
    script = Path(__file__).with_name("contract_reader.mjs")
    with tempfile.TemporaryDirectory() as folder:
        # Node.js recognises a module by its suffix.
        module = shutil.copyfile(PAGE / "contract.js", Path(folder) / "contract.mjs")
        done = subprocess.run(
            [node, "--max-old-space-size=256", script, module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)
    return output


def read(*files: bytes) -> list[dict[str, Any]]:
    """Read files as the page does; return {contract} or {error} for each."""
    encoded = [base64.b64encode(file).decode() for file in files]
    reply: list[dict[str, Any]] = run_node({"files": encoded})["reply"]
    return reply


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def field(number: int, value: bytes) -> bytes:
    """Encode a length-delimited field of protobuf."""
    return varint(number * 8 + 2) + varint(len(value)) + value


def model_bytes(metadata: Mapping[str, str | bytes]) -> bytes:
    """Encode an ONNX file that is nothing but metadata."""
    pairs = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in metadata.items()
    ]
    return b"\x08\x08" + b"".join(
        field(14, field(1, name) + field(2, value)) for name, value in pairs
    )


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    return EmotionClassifier().contract.to_metadata()


@pytest.fixture(scope="module")
def other_metadata(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = band_model(tmp_path_factory.mktemp("other") / "m.onnx", other_threshold=0.625)
    return EmotionClassifier(path).contract.to_metadata()


def with_values(metadata: dict[str, str], **values: Any) -> bytes:
    changed: dict[str, str | bytes] = dict(metadata)
    for name, value in values.items():
        plain = isinstance(value, (str, bytes))
        changed[PREFIX + name] = value if plain else json.dumps(value)
    return model_bytes(changed)


def test_the_contract_equals_that_of_the_runtime(metadata: dict[str, str]) -> None:
    contract = EmotionClassifier().contract
    (reply,) = read(model_bytes(metadata))
    assert reply["contract"] == {
        "labels": list(contract.labels),
        "size": contract.input.size,
        "network": contract.network,
        "precision": contract.precision,
        "minConfidence": contract.min_confidence,
        "temperature": contract.temperature,
        "otherClasses": list(contract.other_classes),
        "otherThreshold": contract.other_threshold,
        "inputs": len(contract.golden.pixels),
    }


def test_a_file_with_the_output_other_is_read(other_metadata: dict[str, str]) -> None:
    (reply,) = read(model_bytes(other_metadata))
    assert reply["contract"]["otherThreshold"] == 0.625
    assert reply["contract"]["otherClasses"] == ["neutral"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("other_threshold", ["", "nan", "-0.1", "1.5", "0_1", "1e400", "0.5 "]),
        ("other_classes", ["[]", "{}", '["happy"]', '["path"]', "[3]", '["a/b"]']),
    ],
)
def test_a_malformed_part_of_other_gives_an_error(
    other_metadata: dict[str, str], name: str, values: list[str]
) -> None:
    for value, reply in zip(
        values, read(*(with_values(other_metadata, **{name: one}) for one in values)), strict=True
    ):
        assert "error" in reply, value


def test_golden_inputs_without_other_are_refused(other_metadata: dict[str, str]) -> None:
    golden = json.loads(other_metadata[PREFIX + "golden"])
    others: list[Any] = [None, [], [0.5, 0.5], [0.5, 0.5, 1.5], [0.5, 0.5, "x"], 7]
    files = [with_values(other_metadata, golden=golden | {"other": other}) for other in others]
    del golden["other"]
    replies = read(*files, with_values(other_metadata, golden=golden))
    assert all("golden is missing or malformed" in reply["error"] for reply in replies), replies


def test_nine_bytes_take_little_memory() -> None:
    # A field number of 10 ** 8 in a pair of metadata was once an index into a list of 1.75 GB.
    hostile = field(14, varint(100_000_000 * 8 + 2) + b"\x00")
    many = field(14, b"".join(varint(number * 8 + 2) + b"\x00" for number in range(3, 20_000)))
    endless = field(14, b"\xff" * 50)
    encoded = [base64.b64encode(one).decode() for one in (hostile, many, endless)]
    output = run_node({"files": encoded})
    assert all("error" in one for one in output["reply"])
    assert output["megabytes"] < 300


def test_labels_must_follow_the_rules_of_the_runtime(metadata: dict[str, str]) -> None:
    cases: list[list[Any]] = [
        ["happy", "sad", "überrascht"],
        ["happy", "sad", "愤怒"],
        ["happy", "sad", "a b"],
        ["happy", "sad", "__proto__"],
        ["happy", "sad", "x" * 200],
        *(["happy", "sad", name] for name in sorted(RESERVED_LABELS)),
        ["happy", "sad", "Error"],
        ["happy", "sad", "Happy"],
        ["gro\N{LATIN SMALL LETTER SHARP S}", "GROSS", "sad"],
        ["\u00e9", "e\u0301", "sad"],
        ["happy", "sad", ""],
        ["happy", "sad", " \u3000"],
        ["happy", "sad", "angry\u00a0"],
        ["happy", "sad", "../../escape"],
        ["happy", "sad", "a\\b"],
        ["happy", "sad", ".."],
        ["happy", "sad", "a\x1b[31m"],
        ["happy", "sad", "a\x85b"],
        ["happy", "sad", "\ud800"],
        ["happy", "sad", "a\u202eb"],
        ["happy", "sad", "a\u200bb"],
        ["happy", "sad", "a\u2028b"],
        ["happy", "sad", "\u200d"],
        ["happy", "sad", "sad\u200d"],
        ["happy", "sad", "क्\u200dष"],
        ["happy", "sad", "ü" * 101],
        ["happy", "sad", 3],
    ]
    replies = read(*(with_values(metadata, labels=labels) for labels in cases))
    for labels, reply in zip(cases, replies, strict=True):
        try:
            check_labels(labels)
        except ValueError:
            assert "error" in reply, labels
        else:
            assert reply["contract"]["labels"] == labels
    assert set(run_node({"files": []})["reserved"]) == RESERVED_LABELS


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("labels", ["{", "7", "null", '{"0": "happy"}', ["happy"], '["happy", NaN]']),
        ("input", ["[]", '{"size": 48, "depth": 3}', '{"size": 0}', '{"size": 1025}']),
        ("input", ['{"size": 48.5}', '{"size": "48"}', '{"size": 1e99}', '{"resize": [[1]]}']),
        ("temperature", ["", "nan", "inf", "0", "-1", "1e999", "0x10", "one"]),
        ("min_confidence", ["", "nan", "-0.1", "1.5", "1_0", " 0.5", "+0.5", ".5", "1.", "０.５"]),
        ("golden", ["{}", "[]", '{"shape": [6, 1, 48, 48]}', "[" * 5000, b"\xff\xfe"]),
        ("contract_version", ["0", "3", "1.0", "9" * 10_000]),
    ],
)
def test_a_malformed_part_gives_an_error(
    metadata: dict[str, str], name: str, values: list[Any]
) -> None:
    for value, reply in zip(
        values, read(*(with_values(metadata, **{name: one}) for one in values)), strict=True
    ):
        assert "error" in reply, value


def test_golden_inputs_of_another_shape_are_refused(metadata: dict[str, str]) -> None:
    golden = json.loads(metadata[PREFIX + "golden"])
    count, classes = len(golden["logits"]), len(golden["logits"][0])
    changes: list[dict[str, Any]] = [
        {"shape": [count, 1, 48, 10**9]},
        {"shape": [count, 48, 48, 1]},
        {"shape": [0, 1, 48, 48], "pixels": "", "logits": []},
        {"pixels": golden["pixels"][:-4]},
        {"pixels": "!" + golden["pixels"][1:]},
        {"logits": [[0.0] * (classes + 1)] * count},
        {"logits": [[None] * classes] * count},
        {"tolerance": -1},
        {"tolerance": "1"},
        {"probe": "AAAA"},
        {"probe": None},
    ]
    files = [with_values(metadata, golden=golden | change) for change in changes]
    # Golden inputs of 48×48 pixels in a file with the size 64.
    files.append(with_values(metadata, input={"size": 64}))
    for change, reply in zip([*changes, "size"], read(*files), strict=True):
        assert "golden is missing or malformed" in reply["error"], change


def test_entries_that_the_page_does_not_use_may_be_malformed(metadata: dict[str, str]) -> None:
    """Python reads NaN in figures: the page accepts the files that Python accepts."""
    odd = with_values(metadata, metrics='{"loss": NaN}', training='{"rate": Infinity}')
    sparse = with_values(metadata, input="{}")  # the defaults of the runtime
    # A duplicate key: onnxruntime uses the last one.
    twice = with_values(metadata, precision="wrong") + field(
        14, field(2, b"fp16") + field(1, b"emotion_edge.precision")
    )
    foreign = model_bytes({**metadata, "author": b"\xff\xfe", "x" * 5000: "y"})
    replies = read(odd, sparse, twice, foreign)
    assert all("contract" in reply for reply in replies), replies
    assert replies[1]["contract"]["size"] == 48
    assert replies[2]["contract"]["precision"] == "fp16"


def test_a_released_file_is_read_and_its_halves_are_refused(metadata: dict[str, str]) -> None:
    whole = EmotionClassifier().model_path.read_bytes()
    cuts = [whole[: len(whole) * part // 7] for part in range(7)]
    first, *others = read(whole, *cuts)
    assert first["contract"]["labels"] == json.loads(metadata[PREFIX + "labels"])
    assert all("error" in reply for reply in others)


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_files_give_an_error(metadata: dict[str, str], seed: int) -> None:
    data = base64.b64encode(model_bytes(metadata)).decode()
    output = run_node({"fuzz": data, "seed": seed, "count": 1500})
    assert output["reply"]["refused"] > 500
    assert output["megabytes"] < 400


def test_page_and_builder_have_the_same_limit_on_model_files() -> None:
    assert run_node({"files": []})["limit"] == MAX_MODEL_BYTES
