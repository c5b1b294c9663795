"""Golden inputs: what travels in the file so that a device can prove it on its own chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from emotion_export.label_subset.subset import LabelSubset
from emotion_export.parity.comparison import Infer, ParityError
from emotion_runtime.model.contract import GoldenInputs
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.pictures.preprocessing import Pixels, read_face
from emotion_train.evaluation import predict_logits

COUNT = 6

# Other chips add in another order: some 1e-5 on these logits. A wrong kernel is off by far more.
TOLERANCE = 1e-3

# Part of the range of the logits: five steps of eight bits.
FEWER_BITS_TOLERANCE = 5 / 255


def make_golden(
    network: torch.nn.Module,
    average_faces: Pixels,
    size: int,
    subset: LabelSubset,
    temperature: float,
) -> GoldenInputs:
    """Take a few average faces, and the logits that PyTorch gives them.

    Args:
        network: Takes uint8 (batch, 1, size, size), gives logits.
        average_faces: uint8, shape (n, size, size); no person's picture may travel in a file. Where
            there are none, generated patterns stand in.
        size: Side of the faces, in pixels.
        subset: Which classes the file keeps.
        temperature: Logits are divided by it before softmax.
    """
    if len(average_faces):
        chosen = np.linspace(0, len(average_faces) - 1, min(COUNT, len(average_faces)))
        pixels = average_faces[np.rint(chosen).astype(np.int64)]
    else:
        pixels = _patterns(size)
    logits, _, other = subset.outputs(predict_logits(network, pixels), temperature)
    return GoldenInputs(
        np.ascontiguousarray(pixels[:, np.newaxis]),
        logits,
        TOLERANCE,
        read_face(draw_probe(), size),
        None if other is None else other.astype(np.float32).clip(max=1),
    )


def with_answers_of(golden: GoldenInputs, infer: Infer, *, flips_allowed: bool) -> GoldenInputs:
    """Replace PyTorch's logits by those of a file of fewer bits, once its gates have opened.

    Its arithmetic is off PyTorch's by design. What a device must show is that it computes what
    the proven file computed here: integer sums are the same everywhere, only a last rounding may
    differ.

    Raises:
        ParityError: The file gives a golden input another label than PyTorch, and the gate of
            label agreement was not loosened.
    """
    logits, _, other = infer(golden.pixels)
    if not flips_allowed and (logits.argmax(axis=1) != golden.logits.argmax(axis=1)).any():
        raise ParityError("the file gives one of its golden inputs another label than PyTorch.")
    tolerance = float(np.ptp(logits)) * FEWER_BITS_TOLERANCE
    return replace(golden, logits=logits, tolerance=tolerance, other=other)


def _patterns(size: int) -> Pixels:
    """Draw smooth blobs of light, seeded; they reach every layer as a face does."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1.0, 1.0, size)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    drawn = []
    for _ in range(COUNT):
        light = sum(
            rng.uniform(-1, 1) * np.exp(-8 * ((x - cx) ** 2 + (y - cy) ** 2))
            for cx, cy in rng.uniform(-1, 1, (8, 2))
        )
        scaled = (light - np.min(light)) / np.ptp(light) * 255
        drawn.append(np.rint(scaled).astype(np.uint8))
    return np.stack(drawn)
