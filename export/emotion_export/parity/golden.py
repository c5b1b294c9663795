"""Golden inputs: what travels in the file, so that a device can check that it computes the same."""

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
    answers_of,
    session_of,
)
from emotion_export.parity.golden_inputs import STEPS, choose_golden_inputs
from emotion_runtime.model.contract import GoldenInputs
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.pictures.preprocessing import Pixels, read_face
from emotion_train.evaluation import predict_logits

# Other chips add in another order: some 1e-5 on these logits. A wrong kernel is off by far more.
TOLERANCE = 1e-3

# Of fewer bits. A value that lies between two steps may be rounded to either, which moves few
# logits by a step or less. A fault moves most of them, so that their mean tells more.
TOLERANCE_STEPS = 2
MEAN_TOLERANCE_STEPS = 1 / 16
_SPREADS = 2  # the tolerance where the machine's own ways to compute differ by more than that


def make_golden(
    network: torch.nn.Module,
    in_float: onnx.ModelProto,
    graph: onnx.ModelProto,
    average_faces: Pixels,
    size: int,
    subset: LabelSubset,
    temperature: float,
    precision: str,
    *,
    flips_allowed: bool = False,
) -> GoldenInputs:
    """Choose golden inputs, and compute the logits that a device must find again.

    Those of fp32 are PyTorch's. A file of fewer bits is off PyTorch by design; what a device must
    show is that it computes what the file computed here, once its gates have opened.

    Args:
        network: Takes uint8 (batch, 1, size, size), gives logits.
        in_float: The graph in float.
        graph: The graph of the file; the same for fp32.
        average_faces: uint8, shape (n, size, size), see `choose_golden_inputs`.
        size: Side of the faces, in pixels.
        subset: Which classes the file keeps.
        temperature: Logits are divided by it before softmax.
        precision: ``fp32``, ``fp16`` or ``int8``.
        flips_allowed: The gate of label agreement was loosened by hand.

    Raises:
        ParityError: The file gives an input with a clear label another one than PyTorch.
    """
    data = graph.SerializeToString()
    infer = session_of(data, "full", threads=1)
    pixels = choose_golden_inputs(in_float, infer, average_faces, size)
    logits, _, expected_other = subset.outputs(predict_logits(network, pixels), temperature)
    other = None if expected_other is None else expected_other.astype(np.float32).clip(max=1)
    tolerance, mean_tolerance = TOLERANCE, None
    if precision != "fp32":
        found = answers_of(infer, pixels)
        clear = find_clear_labels(softmax(logits.astype(np.float64) / temperature, axis=1))
        flipped = found.logits.argmax(axis=1) != logits.argmax(axis=1)
        if not flips_allowed and (flipped & clear).any():
            raise ParityError("the file gives one of its golden inputs another label than PyTorch.")
        logits, other = found.logits, found.other
        step = float(np.ptp(logits)) / STEPS
        largest, mean = _measure_spread(data, pixels, logits)
        tolerance = max(step * TOLERANCE_STEPS, largest * _SPREADS)
        mean_tolerance = max(step * MEAN_TOLERANCE_STEPS, mean * _SPREADS)
    probe = read_face(draw_probe(), size)
    return GoldenInputs(pixels[:, np.newaxis], logits, tolerance, probe, other, mean_tolerance)


def _measure_spread(
    data: bytes, pixels: Pixels, logits: NDArray[np.float32]
) -> tuple[float, float]:
    """Return by how much this machine's own ways to run a graph differ: largest, and mean."""
    gaps = []
    for optimisation in OPTIMISATIONS:
        for threads in (1, 2):
            infer = session_of(data, optimisation, threads)
            gaps += [np.abs(answers_of(infer, pixels, n).logits - logits) for n in BATCH_SIZES]
    return float(max(gap.max() for gap in gaps)), float(max(gap.mean() for gap in gaps))
