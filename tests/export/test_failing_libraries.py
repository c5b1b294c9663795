"""Failures of the libraries behind the export are reported in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxsim
import pytest
import torch

import emotion_export.parity.comparison as comparison
from emotion_export.errors import ConversionError, ParityDataError
from emotion_export.graph.half import convert_to_half
from emotion_export.graph.simplify import simplify
from emotion_export.parity.comparison import ParityError, Reference
from emotion_export.parity.faces import read_parity_faces
from synthetic import band_face, pixels_text, write_csv


@pytest.fixture
def graph(model_file: Path) -> onnx.ModelProto:
    return onnx.load(model_file)


def fail(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("out of luck")


def test_the_error_of_a_failing_onnxsim_names_no_simplify(
    graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxsim, "simplify", lambda model: (model, False))
    with pytest.raises(ConversionError, match="changed what the graph computes; --no-simplify"):
        simplify(graph)
    monkeypatch.setattr(onnxsim, "simplify", fail)
    with pytest.raises(ConversionError, match=r"onnxsim failed.*out of luck.*--no-simplify"):
        simplify(graph)


def test_a_failing_conversion_to_fp16_is_reported(
    graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime.transformers import float16

    monkeypatch.setattr(float16, "convert_float_to_float16", fail)
    with pytest.raises(ConversionError, match="cannot be converted to fp16"):
        convert_to_half(graph)


class Bands(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().reshape(len(pixels), 3, -1).mean(dim=2) / 10


def test_a_graph_that_onnxruntime_cannot_run_is_reported(
    graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = np.stack([band_face(label) for label in range(3)])
    reference = Reference(Bands().eval(), 1.0, faces)
    assert len(reference.compare_graph(graph.SerializeToString(), "converted")) == 6

    open_session = comparison.open_graph

    def fail_in_batches(model: bytes, optimisation: str) -> Any:
        infer = open_session(model, optimisation)
        return lambda pixels: infer(pixels) if len(pixels) == 1 else fail()

    monkeypatch.setattr(comparison, "open_graph", fail_in_batches)
    with pytest.raises(ParityError, match="cannot run the converted graph at batch 7") as caught:
        reference.compare_graph(graph.SerializeToString(), "converted")
    assert len(caught.value.comparisons) == 1


def test_parity_faces_can_come_from_a_csv(tmp_path: Path) -> None:
    rows = [("3", pixels_text(band_face(0, seed)), "Training") for seed in range(4)]
    rows += [("3", pixels_text(band_face(0, 9)), "PrivateTest")]
    faces = read_parity_faces(write_csv(tmp_path / "faces.csv", rows), 3)
    assert faces.source == "faces.csv, train"
    assert faces.pixels.shape == (3, 48, 48)
    np.testing.assert_array_equal(faces.pixels[0], band_face(0, 0))


def test_a_folder_without_a_readable_picture_has_no_parity_faces(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ParityDataError, match="no picture that can be read"):
        read_parity_faces(tmp_path)
