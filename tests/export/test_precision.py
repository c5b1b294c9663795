"""fp16 and int8 files: each is written only if it passes its own gates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper
from PIL import Image

import emotion_export.export as stages
import emotion_models
from emotion_export.graph.silence import silence
from emotion_export.int8.labelled_faces import read_labelled_faces
from emotion_runtime import EmotionClassifier
from emotion_runtime.model.session import import_onnxruntime
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.errors import DataError
from emotion_train.run_record import find_validation_folder
from synthetic import CLASSES, band_face, save_face

Export = Callable[..., Result]


@pytest.mark.parametrize(("precision", "size"), [("fp16", 0.55), ("int8", 1 / 3)])
def test_smaller_files_keep_the_contract(
    small_files: dict[str, Path], precision: str, size: float
) -> None:
    path, whole = small_files[precision], small_files["fp32"]
    assert path.stat().st_size < size * whole.stat().st_size
    classifier = EmotionClassifier(path)
    assert classifier.contract.precision == precision
    assert classifier.self_test().passed
    faces = np.stack([band_face(n % 3, 5_000 + n) for n in range(60)])
    _, expected = EmotionClassifier(whole).infer(faces)
    _, chances = classifier.infer(faces)
    assert (chances.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98


def test_the_report_has_the_losses_of_int8(small_files: dict[str, Path]) -> None:
    report = json.loads(small_files["int8"].with_suffix(".parity.json").read_text())
    figures = report["int8"]
    assert figures["method"] in ("minmax", "entropy", "percentile")
    assert figures["label_agreement"] >= 0.99
    assert (
        figures["faces"] == 60
    )  # the validation set, used neither for training nor for calibration
    tests = figures["paired_comparisons"]
    assert tests["accuracy"]["faces"] == 60
    assert tests["accuracy"]["decision"] == "too few faces to tell"
    assert tests["accuracy"]["more_faces_needed"] > 100
    assert set(tests["recall"]) == set(CLASSES)
    assert figures["times_as_fast_as_fp32"] > 0
    assert {c["stage"] for c in report["comparisons"]} == {
        "simplified",
        "int8",
        "file",
        "threads",
        "pictures",
    }


def test_no_sum_of_two_products_exceeds_sixteen_bits(small_files: dict[str, Path]) -> None:
    model = onnx.load(small_files["int8"])
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.endswith("_quantized") and "bias" not in tensor.name
    }
    kinds = {array.dtype for array in weights.values()}
    assert np.dtype(np.int8) in kinds
    for array in weights.values():
        if array.dtype == np.int8:
            assert np.abs(array.astype(int)).max() <= 64


def test_the_logits_of_int8_are_float_and_reshape_is_not(small_files: dict[str, Path]) -> None:
    graph = onnx.load(small_files["int8"]).graph
    maker = {name: node for node in graph.node for name in node.output}
    assert maker["logits"].op_type == "Gemm"
    (reshape,) = (node for node in graph.node if node.op_type == "Reshape")
    after = [node.op_type for node in graph.node if reshape.output[0] in node.input]
    assert (maker[reshape.input[0]].op_type, after) == ("DequantizeLinear", ["QuantizeLinear"])
    faces = np.stack([band_face(n % 3, 7_000 + n) for n in range(200)])
    logits, _ = EmotionClassifier(small_files["int8"]).infer(faces)
    assert len(np.unique(logits)) > 2 * 255, "no grid of eight bits"


def test_the_bar_ends_where_the_work_ends(small_files: dict[str, Path]) -> None:
    """Its total is known before the work, and every step is counted."""
    for precision, file in small_files.items():
        done, total = json.loads(file.with_name(f"{precision}.steps.json").read_text())
        assert done == total > 30, precision


def test_noise_is_refused_for_calibration(export: Export, run_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "noise" / "train" / name).mkdir(parents=True)
        for number in range(50):
            noise = rng.integers(0, 256, (48, 48), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "noise" / "train" / name / f"{number}.png")
    result = export(
        tmp_path / "m.onnx", "-c", run_dir, "-p", "int8", "--calibration", tmp_path / "noise"
    )
    assert result.exit_code == 1
    assert "not the training data of the network" in result.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_other_pictures_than_in_training_are_refused(
    run_dir: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Then the draw of the held-out pictures is another one too."""
    checkpoint = load_checkpoint(run_dir)
    assert not read_labelled_faces(data_folder, checkpoint).note
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    save_face(data / "train" / CLASSES[0] / "more.png", 0, 5000)
    note = read_labelled_faces(data, checkpoint).note
    assert "not the pictures that the network was trained on" in note


def test_int8_is_compared_on_the_validation_set_of_the_run(
    run_dir: Path, data_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(data_folder / "test", tmp_path / "other")
    checkpoint = load_checkpoint(run_dir)
    recipe = {**checkpoint.training["recipe"], "validation_per_class": 0}
    checkpoint = replace(checkpoint, training={**checkpoint.training, "recipe": recipe})
    (tmp_path / "run.json").write_text(json.dumps({"options": {"validation": str(other)}}))
    found = find_validation_folder(tmp_path / "best.pt")
    assert found == other
    names = read_labelled_faces(data_folder, checkpoint, found).held_out.names
    assert any(name.startswith("other/") for name in names)
    shutil.rmtree(other)
    assert find_validation_folder(tmp_path) is None
    with pytest.raises(DataError, match="the run was trained with one; put it beside train"):
        read_labelled_faces(data_folder, checkpoint)
    (tmp_path / "run.json").write_text("{}")
    assert find_validation_folder(tmp_path) is None


def test_int8_without_real_faces_is_refused_with_the_reason(
    export: Export, run_dir: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.pt"
    alone.write_bytes((run_dir / "best.pt").read_bytes())
    result = export(tmp_path / "m.onnx", "-c", alone, "-p", "int8")
    assert result.exit_code == 1
    assert "int8 is calibrated on real faces" in result.stderr


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_lossy_conversion_is_refused_and_a_relaxed_gate_is_recorded(
    export: Export,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    def lossy(graph: onnx.ModelProto) -> onnx.ModelProto:
        """Change part of the predictions by a bias on one class."""
        last = next(node for node in reversed(graph.graph.node) if node.op_type == "Gemm")
        for tensor in graph.graph.initializer:
            if tensor.name == last.input[2]:
                values = numpy_helper.to_array(tensor).copy()
                values[0] += 100
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return graph

    if precision == "fp16":
        convert = stages.convert_to_half
        monkeypatch.setattr(stages, "convert_to_half", lambda graph: convert(lossy(graph)))
    else:
        from emotion_export.int8 import precision as choice

        quantise = choice.quantise
        monkeypatch.setattr(
            choice,
            "quantise",
            lambda graph, *rest, **more: quantise(lossy(_copy(graph)), *rest, **more),
        )
    result = export(tmp_path / "m.onnx", "-c", run_dir, "-p", precision)
    assert result.exit_code == 1
    assert "label agreement" in result.stderr
    if precision == "int8":
        assert "--allow-accuracy-loss 0" in result.stderr
        assert result.stderr.count("on the faces of the parity check") >= 3  # of each candidate
    assert list(tmp_path.iterdir()) == []
    loose = ["--allow-label-agreement", "0", "--allow-accuracy-loss", "1"]
    loose += ["--allow-recall-loss", "1"]
    done = export(tmp_path / "m.onnx", "-c", run_dir, "-p", precision, *loose)
    if precision == "int8":
        assert done.exit_code == 0, done.output
        parity = EmotionClassifier(tmp_path / "m.onnx").contract.parity
        assert parity["int8"]["loosened"] == {
            "accuracy": 1.0,
            "recall": 1.0,
            "label_agreement": 0.0,
        }


def test_another_resize_filter_than_in_training_is_refused(
    export: Export, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_runtime.pictures import preprocessing

    resize = Image.Image.resize
    monkeypatch.setattr(
        preprocessing.Image.Image,
        "resize",
        lambda image, size, _filter, **more: resize(image, size, Image.Resampling.NEAREST, **more),
    )
    result = export(tmp_path / "m.onnx", "-c", run_dir)
    assert result.exit_code == 1
    assert "differently than the training did" in result.stderr
    assert list(tmp_path.iterdir()) == []


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    return copied


def test_files_of_every_precision_pass_emotion_verify(
    run_dir: Path, small_files: dict[str, Path]
) -> None:
    from click.testing import CliRunner

    from emotion_export.verify_cli import main

    for path in small_files.values():
        again = CliRunner().invoke(main, [str(path), "-c", str(run_dir)])
        assert again.exit_code == 0, again.output
        assert f"{path}: verified against {run_dir}: " in again.stdout


def test_a_file_in_ort_format_passes_the_parity_check(
    export: Export, run_dir: Path, tmp_path: Path
) -> None:
    done = export(tmp_path / "m.onnx", "-c", run_dir, "--format", "ort", "-v")
    assert done.exit_code == 0, done.output
    classifier = EmotionClassifier(tmp_path / "m.ort")
    assert classifier.labels == CLASSES
    test = classifier.self_test()
    assert test.passed
    assert test.graph_changed is None, "the file holds the graph in another form"
    operators = (tmp_path / "m.required_operators.config").read_text()
    assert "FusedConv" in operators
    assert str(tmp_path) not in operators
    assert "/" not in operators


def read_operators(lines: list[str]) -> set[tuple[str, str]]:
    """Return the operators of a list for onnxruntime's build, each with its domain and version."""
    listed = [line.rsplit(";", 1) for line in lines if line.count(";") == 2 and line[0] != "#"]
    return {(domain, name) for domain, names in listed for name in names.split(",")}


@pytest.mark.slow
def test_the_documented_operators_are_enough_for_the_released_files(tmp_path: Path) -> None:
    """Those of the face detector were missing after it had changed."""
    import_onnxruntime()  # first, which turns its telemetry off
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    released = Path(emotion_models.__file__).parent
    for file in ("edge.onnx", "edge-int8.onnx", "detectors/retinaface.onnx"):
        shutil.copy(released / file, tmp_path)
    with silence():
        convert_onnx_models_to_ort(tmp_path, optimization_styles=[OptimizationStyle.Fixed])
    needed = read_operators((tmp_path / "required_operators.config").read_text().splitlines())
    page = Path(__file__).parents[2] / "docs" / "howto" / "small-runtimes.md"
    documented = read_operators(page.read_text(encoding="utf-8").splitlines())
    assert ("ai.onnx;13", "QuantizeLinear") in documented
    assert needed - documented == set()
