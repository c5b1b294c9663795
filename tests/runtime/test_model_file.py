"""Untrusted model files: run, or refused in one sentence, with limited time and memory."""

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


def write_changed(tmp_path: Path, change: Change) -> Path:
    """Write the band model with a change."""
    path = band_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def assert_refused(path: Path, message: str) -> str:
    """Open a file that must be refused; return the message."""
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
def test_files_of_other_kinds_are_recognised(
    tmp_path: Path, infer: Infer, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert_refused(path, message)
    done = infer("-m", path, "--self-test")
    assert done.exit_code == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["best.pt", "model.onnx"])
def test_the_error_on_a_checkpoint_names_the_export_command(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", b"")
    assert_refused(path, f"a PyTorch checkpoint.*emotion-export model.onnx --checkpoint {path}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"")
    message = "a PyTorch checkpoint" if path.suffix == ".pt" else "a zip archive"
    assert_refused(path, message)


def test_the_error_on_a_run_folder_names_the_export_command(tmp_path: Path) -> None:
    assert_refused(tmp_path, "a folder, not a model file")
    (tmp_path / "best.pt").touch()
    assert_refused(tmp_path, "the folder of a training run.*emotion-export")


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for name in (tmp_path / "missing.onnx", "nothing", "a\0b"):
        with pytest.raises(ModelFileError, match="no such model file, nor a released model"):
            EmotionClassifier(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    assert_refused(tmp_path / "m.onnx", "not a regular file")


@pytest.mark.skipif(os.name != "posix", reason="device nodes are those of POSIX")
def test_a_device_is_not_read(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "zero", 0o20600, os.makedev(1, 5))
    except (OSError, AttributeError):
        pytest.skip("only root makes device nodes")
    assert_refused(tmp_path / "zero", "not a regular file")


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08")
        file.truncate(model_file.MAX_MODEL_BYTES + 1)  # takes no space on the disk
    assert_refused(path, "larger than 512 MiB")
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", 1000)
    assert_refused(band_model(path), "larger than 0 MiB")


# --- graphs that are refused ---


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
def test_features_that_no_exported_network_needs_are_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    assert_refused(write_changed(tmp_path, change), message)


def test_a_repeated_field_is_checked_too(tmp_path: Path) -> None:
    path = write_changed(tmp_path, external)
    good = band_model(tmp_path / "good.onnx").read_bytes()
    # Protobuf merges both graphs into one.
    (tmp_path / "both.onnx").write_bytes(good + path.read_bytes())
    assert_refused(tmp_path / "both.onnx", "in another file")


def test_a_graph_with_too_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "MAX_FIELDS", 1000)
    with pytest.raises(ValueError, match="more than 1,000 parts"):
        check_onnx(b"\x78\x00" * 1100)  # unknown fields
    tensors = b"\x2a\x00" * 1100
    with pytest.raises(ValueError, match="more than 1,000 parts"):
        check_onnx(b"\x3a" + bytes([len(tensors) & 0x7F | 0x80, len(tensors) >> 7]) + tensors)


def test_the_released_files_and_the_detector_pass() -> None:
    paths = [emotion_models.model_path(name) for name in emotion_models.names()]
    for path in [*paths, emotion_models.detector_path("retinaface")]:
        check_onnx(path.read_bytes())


def test_the_allowed_operators_exist() -> None:
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


# --- files that can be opened and fail later ---


def test_a_file_is_opened_from_the_bytes_that_were_checked(tmp_path: Path) -> None:
    """The classifier does not change if the file is replaced after it was opened."""
    path = band_model(tmp_path / "m.onnx")
    classifier = EmotionClassifier(path)
    path.write_bytes(b"")
    assert classifier.predict(band_face(1)).label == "sad"


def test_metadata_that_is_not_utf8_gives_one_sentence(tmp_path: Path, infer: Infer) -> None:
    path = band_model(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"bands", b"\xff\xfeand"))
    assert_refused(path, "not UTF-8")
    assert infer("-m", path, "--describe").exit_code == 1


def reshape_outputs(rows: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        """Return the same number of rows for each batch."""
        model.graph.initializer.append(numpy_helper.from_array(np.array([rows, 3]), "shape"))
        nodes = model.graph.node
        nodes[2].output[0] = "all"
        nodes[3].input[0] = "all"
        nodes.append(helper.make_node("Reshape", ["all", "shape"], ["logits"]))

    return change


def scale_probabilities(factor: float) -> Change:
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
        (reshape_outputs(1), "cannot be run"),
        (first_rows, "outputs of shape"),
        (scale_probabilities(float("nan")), "not probabilities"),
        (scale_probabilities(float("inf")), "not probabilities"),
        (scale_probabilities(-1.0), "not probabilities"),
        (scale_probabilities(3.0), "not probabilities"),
    ],
)
def test_a_network_that_fails_while_running_gives_one_sentence(
    tmp_path: Path, infer: Infer, change: Change, message: str
) -> None:
    path = write_changed(tmp_path, change)
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
    """Its log would print escape sequences in the names of nodes to the terminal."""

    def change(model: onnx.ModelProto) -> None:
        reshape_outputs(1)(model)
        model.graph.node[-1].name = "\x1b]0;title\x07"

    path = write_changed(tmp_path, change)
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
            # The structure of the graph and the contract; the weights are between them.
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


def test_any_bytes_are_refused_in_one_sentence() -> None:
    whole = (emotion_models.model_path("edge-int8")).read_bytes()
    for data in [*mutations(whole[:6000], 100), *mutations(whole[-40000:], 100), whole[:-7]]:
        for check in (check_onnx, check_ort):
            with contextlib.suppress(ValueError):
                check(data)


def flatbuffer(**fields: int) -> bytes:
    """Return a file in onnxruntime's format with an offset beyond its end."""
    table = struct.pack("<HHHHiI", 8, 12, 4, 8, 8, fields["to"])
    return struct.pack("<I4s", 16, b"ORTM") + table + bytes(16)


@pytest.mark.parametrize("to", [0, 1, 2**31, 2**32 - 1])
def test_an_offset_beyond_the_end_is_refused(to: int) -> None:
    with pytest.raises(ValueError, match=r"not a model|no graph"):
        check_ort(flatbuffer(to=to))
