"""Make the golden inputs of a model file: a device checks with them that it computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_export.label_subset.subset import LabelSubset
from emotion_export.parity.clear_labels import find_clear_labels
from emotion_export.parity.comparison import (
    BATCH_SIZES,
    OPTIMISATIONS,
    ParityError,
    open_graph,
    run_in_batches,
)
from emotion_export.parity.golden_inputs import STEPS, choose_golden_inputs
from emotion_runtime.model.contract import GoldenInputs
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.pictures.preprocessing import Pixels, read_face
from emotion_train.evaluation import predict_logits

# Other chips add in another order, which changes these logits by about 1e-5. A wrong kernel changes
# them far more.
FP32_TOLERANCE = 1e-3

# For fp16 and int8. A value between two steps may be rounded to either, which changes a few logits
# by up to a step. A fault changes most logits, so the mean shows it better.
TOLERANCE_STEPS = 2
MEAN_TOLERANCE_STEPS = 1 / 16
_SPREAD_FACTOR = 2  # times the spread of this machine's own results, if that is larger


def make_golden(
    network: torch.nn.Module,
    float_graph: onnx.ModelProto,
    graph: onnx.ModelProto,
    average_faces: Pixels,
    size: int,
    subset: LabelSubset,
    temperature: float,
    precision: str,
    *,
    flips_allowed: bool = False,
) -> GoldenInputs:
    """Choose golden inputs and compute the outputs that a device must reproduce.

    For fp32 these are PyTorch's outputs. A file in fp16 or int8 differs from PyTorch by design, so
    its own outputs on this machine are used, after it has passed the parity check.

    Args:
        network: Takes uint8 (batch, 1, size, size), returns logits.
        float_graph: The float graph.
        graph: The graph of the file; for fp32, the same.
        average_faces: uint8, shape (n, size, size), see `choose_golden_inputs`.
        size: Side of the faces, in pixels.
        subset: The classes that the file keeps.
        temperature: Logits are divided by it before softmax.
        precision: ``fp32``, ``fp16`` or ``int8``.
        flips_allowed: The limit of the label agreement was relaxed by hand.

    Raises:
        ParityError: The file and PyTorch give an input with a clear label different labels.
    """
    data = graph.SerializeToString()
    infer = open_graph(data, "full", threads=1)
    pixels = choose_golden_inputs(float_graph, infer, average_faces, size)
    logits, _, expected_other = subset.compute_outputs(predict_logits(network, pixels), temperature)
    other = None if expected_other is None else expected_other.astype(np.float32).clip(max=1)
    tolerance, mean_tolerance = FP32_TOLERANCE, None
    if precision != "fp32":
        found = run_in_batches(infer, pixels)
        clear = find_clear_labels(softmax(logits.astype(np.float64) / temperature, axis=1))
        flipped = found.logits.argmax(axis=1) != logits.argmax(axis=1)
        if not flips_allowed and (flipped & clear).any():
            raise ParityError(
                "the file and PyTorch give different labels to one of the golden inputs."
            )
        logits, other = found.logits, found.other
        step = float(np.ptp(logits)) / STEPS
        largest, mean = _measure_spread(data, pixels, logits)
        tolerance = max(step * TOLERANCE_STEPS, largest * _SPREAD_FACTOR)
        mean_tolerance = max(step * MEAN_TOLERANCE_STEPS, mean * _SPREAD_FACTOR)
    probe = read_face(draw_probe(), size)
    return GoldenInputs(pixels[:, np.newaxis], logits, tolerance, probe, other, mean_tolerance)


def _measure_spread(
    data: bytes, pixels: Pixels, logits: NDArray[np.float32]
) -> tuple[float, float]:
    """Return the largest and the mean difference between this machine's ways to run a graph."""
    gaps = []
    for optimisation in OPTIMISATIONS:
        for threads in (1, 2):
            infer = open_graph(data, optimisation, threads)
            gaps += [np.abs(run_in_batches(infer, pixels, n).logits - logits) for n in BATCH_SIZES]
    return float(max(gap.max() for gap in gaps)), float(max(gap.mean() for gap in gaps))
