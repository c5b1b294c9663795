"""A network of one's own, exported with the same parity check as a registered one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotion_export.errors import ConversionError, ExportError, ParityDataError, reason_of
from emotion_export.export import Exported, Plan, check_target, export_checkpoint
from emotion_export.parity.faces import ParityFaces, read_parity_faces
from emotion_runtime.labels import check_labels
from emotion_runtime.pictures.preprocessing import FACE_SIZE, Pixels
from emotion_train.checkpoints.checkpoint import Checkpoint

_PLAN = Plan()
_TRIED = 64  # faces that the network is tried on before anything is converted
_CERTAIN = 0.9999  # a probability that no face but an odd one gets


def export_module(
    network: nn.Module,
    labels: Sequence[str],
    path: str | PathLike[str],
    faces: str | PathLike[str] | NDArray[np.uint8],
    plan: Plan = _PLAN,
    *,
    size: int = FACE_SIZE,
    temperature: float = 1.0,
    keep: Sequence[str] = (),
    other_threshold: float | None = None,
) -> Exported:
    """Export a network of your own, with the same parity check.

    The network, labels and faces are tried before anything is converted. A warning is given where
    the scaling of the pixels seems to be missing in the network.

    >>> export_module(MyNetwork(), ["cat", "dog"], "pets.onnx", "pictures")

    Args:
        network: Takes pixels uint8 (batch, 1, size, size), 0 to 255, and returns logits float32
            (batch, len(labels)); its scaling is a part of it.
        labels: Class names in the order of the logits.
        path: The file to write, ``*.onnx``; an earlier one is replaced.
        faces: What to compare the file with PyTorch on: a folder of pictures, or pixels uint8
            (n, size, size) or (n, 1, size, size).
        plan: ``fp32`` or ``fp16``; int8 needs a checkpoint, whose splits it is judged on.
        size: Side of the faces, in pixels.
        temperature: Logits are divided by it before softmax.
        keep: The labels that the file keeps; the other classes become its output `other`. Empty
            for every class and no such output.
        other_threshold: With `keep`: where `other` reaches it, the label is ``other``, 0 to 1.

    Raises:
        ExportError: The labels, the network or the faces do not fit; else as
            `export_checkpoint`.
    """
    target = Path(path)
    check_target(target, overwrite=True)
    names = _names(labels)
    if plan.precision == "int8":
        raise ParityDataError(
            "int8 is judged on faces held out of training, which a network alone does not name; "
            "export it as fp32 or fp16."
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ExportError(f"the temperature {temperature} is no number above 0.")
    if bool(keep) != (other_threshold is not None):
        raise ExportError(
            "keep and other_threshold go together: a threshold is chosen on labelled faces, which "
            "a network alone does not name."
        )
    if other_threshold is not None and not 0 <= other_threshold <= 1:
        raise ExportError(f"the threshold of other {other_threshold} is not from 0 to 1.")
    plan = replace(plan, labels=tuple(keep), other_threshold=other_threshold)
    if isinstance(faces, np.ndarray):
        chosen = ParityFaces(_pixels(faces, size), "faces given as an array", True)
    else:
        chosen = read_parity_faces(Path(faces), size=size)
    _try_out(network.eval(), chosen.pixels[:_TRIED, np.newaxis], names)
    described = Checkpoint(type(network).__name__, names, {}, size, temperature)
    return export_checkpoint(described, target, chosen, plan, network=network)


def _names(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ExportError(f"the labels are one text, {labels!r}; give a list of names.")
    names = tuple(labels)
    if len(names) < 2:
        raise ExportError(f"{len(names)} labels leave nothing to tell apart; give two or more.")
    try:
        check_labels(names)
    except ValueError as error:
        raise ExportError(f"labels: {error}.") from error
    return names


def _pixels(faces: NDArray[np.uint8], size: int) -> Pixels:
    """Return faces as uint8 (n, size, size)."""
    if faces.dtype != np.uint8:
        raise ParityDataError(f"faces are uint8 pixels, 0 to 255; these are {faces.dtype}.")
    if faces.ndim == 4 and faces.shape[1] == 1:
        faces = faces[:, 0]
    if faces.ndim != 3 or not len(faces) or faces.shape[1:] != (size, size):
        raise ParityDataError(
            f"faces have the shape (n, {size}, {size}), n at least 1; these have {faces.shape} "
            f"(size= names another side)."
        )
    return np.ascontiguousarray(faces)


def _try_out(network: nn.Module, pixels: NDArray[np.uint8], labels: tuple[str, ...]) -> None:
    """Run the network on a few faces, and refuse what the export could not make sense of.

    Raises:
        ConversionError: It cannot take such pixels, or returns something else than logits.
    """
    batch = torch.from_numpy(pixels)
    try:
        logits = _run(network, batch)
    except Exception as error:  # whatever the network raises
        raise ConversionError(_why_not(network, batch, error)) from error
    if not isinstance(logits, Tensor):
        raise ConversionError(
            f"the network returns a {type(logits).__name__}, not a tensor of logits."
        )
    shape, expected = tuple(logits.shape), (len(batch), len(labels))
    if shape != expected:
        raise ConversionError(
            f"the network returns the shape {shape} for {len(batch)} faces; logits of the "
            f"{len(labels)} labels have the shape {expected}."
        )
    if not logits.is_floating_point() or not bool(torch.isfinite(logits).all()):
        raise ConversionError("the network returns logits that are not all finite numbers.")
    sums = logits.double().sum(dim=1)
    if bool((logits >= 0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
        raise ConversionError(
            "the network returns probabilities (each row adds up to 1), and softmax is added at "
            "export: return the logits from before its softmax."
        )
    if _seems_unscaled(network, batch, logits):
        warnings.warn(
            "the network is certain of every face as it is, and not when the pixels are divided "
            "by 255: its scaling seems to be missing; begin forward with pixels.float() / 255.",
            stacklevel=3,
        )


@torch.inference_mode()
def _run(network: nn.Module, pixels: Tensor) -> Tensor:
    first = next(network.parameters(), None)
    answer: Tensor = network(pixels if first is None else pixels.to(first.device))
    return answer.cpu() if isinstance(answer, Tensor) else answer


def _why_not(network: nn.Module, batch: Tensor, error: Exception) -> str:
    """Return one sentence on why a network cannot take gray 8-bit pixels."""
    gray, colour = batch.float(), batch.expand(-1, 3, -1, -1).contiguous()
    tries = {
        "the network takes float pixels alone; the input of a model file is uint8, so begin "
        "forward with pixels.float() / 255, or whatever it was trained with": gray,
        "the network takes three channels; the input of a model file is gray, so begin forward "
        "with pixels.expand(-1, 3, -1, -1)": colour,
        "the network takes float pixels of three channels; the input of a model file is gray and "
        "uint8, so begin forward with pixels.float().expand(-1, 3, -1, -1) / 255": colour.float(),
    }
    for sentence, pixels in tries.items():
        try:
            _run(network, pixels)
        except Exception:  # noqa: BLE001  tried in turn; the first error is what is told
            continue
        return f"{sentence}."
    shape = tuple(batch.shape)
    return f"the network cannot take uint8 pixels of the shape {shape} ({reason_of(error)})."


def _seems_unscaled(network: nn.Module, batch: Tensor, logits: Tensor) -> bool:
    """Return whether all answers are certain, and would not be for pixels from 0 to 1."""
    if len(batch) < 2 or not _certain(logits):
        return False
    try:
        return not _certain(_run(network, batch.float() / 255))
    except Exception:  # noqa: BLE001  it takes uint8 alone, so that it scales them itself
        return False


def _certain(logits: Tensor) -> bool:
    return bool((torch.softmax(logits.double(), dim=1).amax(dim=1) > _CERTAIN).all())
