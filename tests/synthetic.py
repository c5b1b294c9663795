"""Synthetic faces and model files: the position of a bright band is the class.

A bright upper third is the first class, the middle third the second, the lower third the third.
`band_model` implements this rule, so that tests of the runtime need no trained network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from emotion_runtime.model.contract import PREFIX, Contract, GoldenInputs

CLASSES = ("happy", "sad", "surprise")
DARK = "neutral"  # a fourth class, without a bright band
SIZE = 48


def band_face(label: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw a face of a class; the seed chooses the face. Class 3 has no band."""
    if label == len(CLASSES):
        return dark_face(seed, size)
    face = np.random.default_rng([seed, label]).integers(0, 90, (size, size))
    third = size // 3
    face[label * third : (label + 1) * third] += 150
    return face.astype(np.uint8)


def save_face(path: Path, label: int, seed: int = 0, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(band_face(label, seed, size)).save(path)
    return path


def write_data(
    folder: Path,
    train: Sequence[int] = (60, 60, 60),
    test: int = 8,
    classes: Sequence[str] = CLASSES,
) -> Path:
    """Write a data folder for emotion-train; `train` has the number of pictures of each class.

    A fourth class has faces without a band.
    """
    for label, (name, count) in enumerate(zip(classes, train, strict=True)):
        for number in range(count):
            save_face(folder / "train" / name / f"{number:03}.png", label, number)
        for number in range(test):
            save_face(folder / "test" / name / f"{number:03}.png", label, 10_000 + number)
    return folder


def write_csv(path: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    """Write a challenge CSV of (emotion, pixels, Usage)."""
    lines = ["emotion,pixels,Usage", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pixels_text(face: NDArray[np.uint8]) -> str:
    return " ".join(str(value) for value in face.ravel())


def dark_face(seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw a face without a bright band, which shows none of the classes."""
    return np.random.default_rng([seed, 7]).integers(0, 90, (size, size)).astype(np.uint8)


def band_other(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the output `other` of `band_model`: close to 1 for faces without a bright band."""
    brightest = pixels.reshape(len(pixels), 3, -1).mean(axis=2).max(axis=1)
    return (1 / (1 + np.exp((brightest - 120) / 10))).astype(np.float32)


def band_logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of `band_model`, (n, 3): a tenth of the mean of each third of a face."""
    thirds = pixels.reshape(len(pixels), 3, -1).astype(np.float32)
    return thirds.mean(axis=2) / 10


def band_model(
    path: Path,
    *,
    min_confidence: float = 0.0,
    golden_offset: float = 0.0,
    metadata: dict[str, str | None] | None = None,
    input_name: str = "pixels",
    batch: str | int = "batch",
    other_threshold: float | None = None,
    golden_other_offset: float = 0.0,
) -> Path:
    """Write a model file that classifies the bands.

    Args:
        path: The file to write.
        min_confidence: The contract's confidence threshold.
        golden_offset: Added to the golden logits, to make a self-test fail.
        metadata: Metadata to replace, or to remove (None), by name without prefix.
        input_name: The graph's input.
        batch: The graph's batch dimension.
        other_threshold: Adds the output `other`, and makes the contract version 2.
        golden_other_offset: Added to the golden values of `other`, to make a self-test fail.
    """
    pixels = np.stack([band_face(label)[np.newaxis] for label in range(3)])
    contract = Contract(
        labels=CLASSES,
        network="bands",
        golden=GoldenInputs(
            pixels,
            band_logits(pixels) + np.float32(golden_offset),
            1e-3,
            other=None
            if other_threshold is None
            else band_other(pixels) + np.float32(golden_other_offset),
        ),
        min_confidence=min_confidence,
        other_threshold=other_threshold,
        other_classes=() if other_threshold is None else (DARK,),
    )
    weights = np.zeros((3, SIZE * SIZE), np.float32)
    for label, row in enumerate(weights.reshape(3, 3, -1)):
        row[label] = 30 / (SIZE * SIZE) / 100
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3])
        for name in ("logits", "probabilities")
    ]
    constants = [numpy_helper.from_array(weights, "weights")]
    further = []
    if other_threshold is not None:
        # The logistic function of 12 less the largest logit, which is a mean over 10.
        further = [
            helper.make_node("ReduceMax", ["logits", "columns"], ["largest"], keepdims=0),
            helper.make_node("Sub", ["edge", "largest"], ["below"]),
            helper.make_node("Sigmoid", ["below"], ["other"]),
        ]
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "columns"))
        constants.append(numpy_helper.from_array(np.array(12, np.float32), "edge"))
        outputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [batch]))
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [input_name], ["light"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["light"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            *further,
        ],
        "bands",
        [helper.make_tensor_value_info(input_name, TensorProto.UINT8, [batch, 1, SIZE, SIZE])],
        outputs,
        constants,
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    entries = contract.to_metadata()
    for name, value in (metadata or {}).items():
        if value is None:
            del entries[PREFIX + name]
        else:
            entries[PREFIX + name] = value
    helper.set_model_props(model, entries)
    onnx.save(model, path)
    return path


def read_lines(text: str) -> list[dict[str, object]]:
    """Parse JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
