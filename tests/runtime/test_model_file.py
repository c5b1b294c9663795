"""Model files from strangers: run as they are, or refused in one sentence, soon and in bounds."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

import emotion_models
from emotion_runtime import EmotionClassifier, EmotionEdgeError, ModelFileError
from emotion_runtime.model import model_file, onnx_graph
from emotion_runtime.model.onnx_graph import check_onnx
from emotion_runtime.model.operators import check_operator
from emotion_runtime.model.ort_graph import check_ort
from synthetic import band_face, band_model

Infer = Callable[..., Result]
Change = Callable[[onnx.ModelProto], None]


def changed(tmp_path: Path, change: Change) -> Path:
    """Write the model of the bands with something changed."""
    path = band_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path, message: str) -> str:
    """Open a file that must be refused; returns the sentence."""
    with pytest.raises(ModelFileError, match=message) as caught:
        EmotionClassifier(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text) < len(str(path)) + 500
    assert "\n" not in text
    return text


# --- files that are something else ---


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.onnx", b"", "the file is empty"),
        ("text.onnx", b"hello, world\n", "a text file"),
        ("german.onnx", "grün\n".encode() * 1000, "a text file"),
        ("page.onnx", b"<!DOCTYPE html>\n<title>404</title>\n", "a text file"),
        ("lfs.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("noise.onnx", bytes(range(128, 256)) * 9, "not an ONNX model"),
        ("pickle.pt", b"\x80\x02}q\x00.", "a PyTorch checkpoint, not a model file; export it"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "not an ONNX model"),
        ("short.ort", b"\x08\0\0\0ORTM", "not a model in onnxruntime's format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_something_else_is_named(
    tmp_path: Path, infer: Infer, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, message)
    done = infer("-m", path, "--self-test")
    assert done.exit_code == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["best.pt", "model.onnx"])
def test_a_checkpoint_is_told_how_it_becomes_a_model_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", b"")
    refused(path, f"a PyTorch checkpoint.*emotion-export model.onnx --checkpoint {path}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"")
    message = "a PyTorch checkpoint" if path.suffix == ".pt" else "a zip archive"
    refused(path, message)


def test_a_folder_is_named_and_a_run_is_told_its_way(tmp_path: Path) -> None:
    refused(tmp_path, "a folder, not a model file")
    (tmp_path / "best.pt").touch()
    refused(tmp_path, "the folder of a training run.*emotion-export")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for name in (tmp_path / "missing.onnx", "nothing", "a\0b"):
        with pytest.raises(ModelFileError, match="no such model file, nor a released model"):
            EmotionClassifier(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "not a regular file")


@pytest.mark.skipif(os.name != "posix", reason="device nodes are those of POSIX")
def test_a_device_is_not_read(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "zero", 0o20600, os.makedev(1, 5))
    except (OSError, AttributeError):
        pytest.skip("only root makes device nodes")
    refused(tmp_path / "zero", "not a regular file")


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08")
        file.truncate(model_file.MAX_MODEL_BYTES + 1)  # takes no room on the disk
    refused(path, "larger than 512 MiB")
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", 1000)
    refused(band_model(path), "larger than 0 MiB")


# --- what a graph may not hold ---


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")


def external_without_location(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def external_constant(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(3, np.float32), "c")
    value.ClearField("raw_data")
    value.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])],
    )
    model.graph.node.append(helper.make_node("Loop", ["many", ""], [], body=body))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "many"))


def graph_in_an_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(
        helper.make_attribute("body", helper.make_graph([], "b", [], []))
    )


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example\x1b[31m"


def random_numbers(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[2**20, 2**20]))


def function(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("x", "f", ["a"], ["a"], [], opsets))


def training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def text_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))


def huge_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def negative_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "in another file"),
        (external_without_location, "in another file"),
        (external_constant, "in another file"),
        (loop, "operator 'Loop'"),
        (graph_in_an_operator, "a graph of its own"),
        (custom_operator, r"operator 'com.example\\x1b\[31m.Cast'"),
        (random_numbers, "operator 'RandomNormal'"),
        (function, "functions of its own"),
        (training, "instructions for training"),
        (sparse, "sparse tensors"),
        (text_tensor, "tensors of text"),
        (huge_tensor, "larger than the file"),
        (negative_tensor, "larger than the file"),
    ],
)
def test_what_no_exported_network_needs_is_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    refused(changed(tmp_path, change), message)


def test_a_field_that_comes_twice_hides_nothing(tmp_path: Path) -> None:
    path = changed(tmp_path, external)
    good = band_model(tmp_path / "good.onnx").read_bytes()
    # Protobuf merges both graphs into one.
    (tmp_path / "both.onnx").write_bytes(good + path.read_bytes())
    refused(tmp_path / "both.onnx", "in another file")


def test_a_graph_of_endless_parts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "MAX_FIELDS", 1000)
    with pytest.raises(ValueError, match="more than 1,000 parts"):
        check_onnx(b"\x78\x00" * 1100)  # fields that nobody knows
    tensors = b"\x2a\x00" * 1100
    with pytest.raises(ValueError, match="more than 1,000 parts"):
        check_onnx(b"\x3a" + bytes([len(tensors) & 0x7F | 0x80, len(tensors) >> 7]) + tensors)


def test_the_released_files_and_the_detector_pass() -> None:
    paths = [emotion_models.model_path(name) for name in emotion_models.names()]
    for path in [*paths, emotion_models.detector_path("retinaface")]:
        check_onnx(path.read_bytes())


def test_the_list_of_operators_is_of_those_that_exist() -> None:
    schemas = {one.name for one in onnx.defs.get_all_schemas_with_history() if one.domain == ""}
    refusing = set()
    for name in schemas:
        try:
            check_operator("", name)
        except ValueError:
            refusing.add(name)
    assert {"If", "Loop", "Scan", "SequenceMap", "RandomUniform", "StringSplit"} <= refusing
    assert {"Conv", "Gemm", "QuantizeLinear", "Attention", "Resize"} <= schemas - refusing
    assert len(schemas - refusing) > 140
    with pytest.raises(ValueError, match="not on the list"):
        check_operator("ai.onnx.ml", "TreeEnsemble")


# --- files that open, and go wrong later ---


def test_a_file_is_opened_from_the_bytes_that_were_checked(tmp_path: Path) -> None:
    """Replaced after it was opened: the classifier is the one that was checked."""
    path = band_model(tmp_path / "m.onnx")
    classifier = EmotionClassifier(path)
    path.write_bytes(b"")
    assert classifier.predict(band_face(1)).label == "sad"


def test_metadata_that_is_no_utf8_is_one_sentence(tmp_path: Path, infer: Infer) -> None:
    path = band_model(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"bands", b"\xff\xfeand"))
    refused(path, "not UTF-8")
    assert infer("-m", path, "--describe").exit_code == 1


def reshaped(rows: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        """Give as many rows whatever the batch is."""
        model.graph.initializer.append(numpy_helper.from_array(np.array([rows, 3]), "shape"))
        nodes = model.graph.node
        nodes[2].output[0] = "all"
        nodes[3].input[0] = "all"
        nodes.append(helper.make_node("Reshape", ["all", "shape"], ["logits"]))

    return change


def scaled(factor: float) -> Change:
    def change(model: onnx.ModelProto) -> None:
        """Multiply the probabilities."""
        model.graph.node[3].output[0] = "shares"
        model.graph.initializer.append(
            numpy_helper.from_array(np.array(factor, np.float32), "factor")
        )
        model.graph.node.append(helper.make_node("Mul", ["shares", "factor"], ["probabilities"]))

    return change


def first_rows(model: onnx.ModelProto) -> None:
    """Leave out the last face of each batch."""
    model.graph.node[3].output[0] = "shares"
    for name, value in (("from", [0]), ("to", [-1]), ("axis", [0])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    model.graph.node.append(
        helper.make_node("Slice", ["shares", "from", "to", "axis"], ["probabilities"])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reshaped(1), "cannot be run"),
        (first_rows, "outputs of shape"),
        (scaled(float("nan")), "not probabilities"),
        (scaled(float("inf")), "not probabilities"),
        (scaled(-1.0), "not probabilities"),
        (scaled(3.0), "not probabilities"),
    ],
)
def test_a_network_that_fails_while_it_runs_is_one_sentence(
    tmp_path: Path, infer: Infer, change: Change, message: str
) -> None:
    path = changed(tmp_path, change)
    classifier = EmotionClassifier(path)
    faces = [band_face(n % 3, n) for n in range(6)]
    with pytest.raises(ModelFileError, match=message) as caught:
        classifier.infer(np.stack(faces))
    assert str(path) in str(caught.value)
    for workers in (1, 3):
        with pytest.raises(ModelFileError, match=message):
            list(classifier.predict_many(faces, workers=workers))
    with pytest.raises(ModelFileError, match=message):
        classifier.self_test()
    for number, face in enumerate(faces):
        (tmp_path / f"{number}.pgm").write_bytes(b"P5 48 48 255\n" + face.tobytes())
    for form in ("json", "jsonl", "csv", "table"):
        done = infer("-m", path, "-f", form, *sorted(tmp_path.glob("*.pgm")))
        assert done.exit_code == 1
        assert isinstance(done.exception, SystemExit)
        assert "NaN" not in done.stdout
        assert str(path) in done.stderr


def test_onnxruntime_writes_no_names_of_the_file_to_stderr(tmp_path: Path) -> None:
    """Its own log would, unescaped: an escape sequence in a node's name reaches the terminal."""

    def change(model: onnx.ModelProto) -> None:
        reshaped(1)(model)
        model.graph.node[-1].name = "\x1b]0;title\x07"

    path = changed(tmp_path, change)
    picture = tmp_path / "a.pgm"
    picture.write_bytes(b"P5 48 48 255\n" + band_face(0).tobytes())
    for command in (["--self-test"], [str(picture)] * 3):
        done = subprocess.run(
            [sys.executable, "-m", "emotion_runtime", "-m", str(path), *command],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert b"ONNXRuntimeError" in done.stderr


# --- mutations ---


def test_mutated_files_are_refused_in_one_sentence_or_run(tmp_path: Path) -> None:
    whole = band_model(tmp_path / "m.onnx").read_bytes()
    path, generator, messages = tmp_path / "x.onnx", random.Random(0), []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(generator.choice((1, 3, 9))):
            # The graph's structure and the contract; the weights lie between them.
            place = generator.choice(
                (generator.randrange(300), len(whole) - 1 - generator.randrange(9000))
            )
            damaged[place] = generator.choice((0, 0xFF, generator.randrange(256)))
        if generator.random() < 0.1:
            del damaged[generator.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            classifier = EmotionClassifier(path)
            classifier.self_test()
        except EmotionEdgeError as error:
            messages.append(str(error))
    assert 20 < len(messages) < 148
    assert not any("\n" in message for message in messages)


def mutations(data: bytes, count: int) -> list[bytes]:
    generator, made = random.Random(1), []
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(generator.choice((1, 3, 9))):
            place = generator.randrange(len(data))
            damaged[place] = generator.choice((0, 0xFF, generator.randrange(256)))
        made.append(bytes(damaged))
    return made


def test_a_walk_over_anything_ends_with_a_sentence() -> None:
    whole = (emotion_models.model_path("edge-int8")).read_bytes()
    for data in [*mutations(whole[:6000], 100), *mutations(whole[-40000:], 100), whole[:-7]]:
        for check in (check_onnx, check_ort):
            with contextlib.suppress(ValueError):
                check(data)


def flatbuffer(**fields: int) -> bytes:
    """A file in onnxruntime's format whose root table has one field, far outside."""
    table = struct.pack("<HHHHiI", 8, 12, 4, 8, 8, fields["to"])
    return struct.pack("<I4s", 16, b"ORTM") + table + bytes(16)


@pytest.mark.parametrize("to", [0, 1, 2**31, 2**32 - 1])
def test_an_offset_that_leads_nowhere_is_damage(to: int) -> None:
    with pytest.raises(ValueError, match=r"not a model|no graph"):
        check_ort(flatbuffer(to=to))
