"""Export a network of your own with the same parity check as a registered one."""

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

from emotion_export.errors import ConversionError, ExportError, ParityDataError
from emotion_export.export import ExportResult, Plan, check_target, export_checkpoint
from emotion_export.parity.faces import ParityFaces, read_parity_faces
from emotion_runtime.errors import format_reason
from emotion_runtime.labels import check_labels
from emotion_runtime.pictures.preprocessing import FACE_SIZE, Pixels
from emotion_runtime.prediction import format_count
from emotion_train.checkpoints.checkpoint import Checkpoint

_PLAN = Plan()
_MAX_TRIAL_FACES = 64  # for the trial run before the conversion
_CERTAIN_PROBABILITY = 0.9999  # a trained network with correct scaling rarely reaches it


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
) -> ExportResult:
    """Export a network of your own, with the same parity check.

    The network, labels and faces are checked before the conversion. A warning is issued if the
    network seems to lack the scaling of the pixels.

    >>> export_module(MyNetwork(), ["cat", "dog"], "pets.onnx", "pictures")

    Args:
        network: Takes pixels uint8 (batch, 1, size, size), 0 to 255, and returns logits float32
            (batch, len(labels)). It includes the scaling of the pixels.
        labels: Class names in the order of the logits.
        path: The file to write, ``*.onnx``. An existing file is replaced.
        faces: Faces for the parity check: a folder of pictures, or pixels uint8
            (n, size, size) or (n, 1, size, size).
        plan: ``fp32`` or ``fp16``. int8 needs a checkpoint, to evaluate on its held-out faces.
        size: Side of the faces, in pixels.
        temperature: Logits are divided by it before softmax.
        keep: The labels that the file keeps; the other classes become the output `other`. Empty
            to keep all classes, without `other`.
        other_threshold: With `keep`: from this value of `other` on, 0 to 1, the label is
            ``other``.

    Raises:
        ExportError: The labels, the network or the faces are not valid, or the file failed the
            parity check.
    """
    target = Path(path)
    check_target(target, overwrite=True)
    names = _check_names(labels)
    if plan.precision == "int8":
        raise ParityDataError(
            "int8 is evaluated on held-out faces of the training, which a network alone does not "
            "have; export it as fp32 or fp16."
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ExportError(f"the temperature {temperature} is not a number above 0.")
    if bool(keep) != (other_threshold is not None):
        raise ExportError(
            "keep and other_threshold go together: choosing a threshold needs labelled faces, "
            "which a network alone does not have."
        )
    if other_threshold is not None and not 0 <= other_threshold <= 1:
        raise ExportError(f"the threshold of other {other_threshold} is not from 0 to 1.")
    plan = replace(plan, labels=tuple(keep), other_threshold=other_threshold)
    if isinstance(faces, np.ndarray):
        chosen = ParityFaces(_check_pixels(faces, size), "faces given as an array", real=True)
    else:
        chosen = read_parity_faces(Path(faces), size=size)
    _try_network(network.eval(), chosen.pixels[:_MAX_TRIAL_FACES, np.newaxis], names)
    checkpoint = Checkpoint(type(network).__name__, names, {}, size, temperature)
    return export_checkpoint(checkpoint, target, chosen, plan, network=network)


def _check_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels, which must be at least two valid names."""
    if isinstance(labels, str):
        raise ExportError(f"the labels are a string, {labels!r}; give a list of names.")
    names = tuple(labels)
    if len(names) < 2:
        raise ExportError(f"{format_count(len(names), 'label')}: too few; give two or more.")
    try:
        check_labels(names)
    except ValueError as error:
        raise ExportError(f"labels: {error}.") from error
    return names


def _check_pixels(faces: NDArray[np.uint8], size: int) -> Pixels:
    """Return faces as uint8 (n, size, size), which they must have or (n, 1, size, size)."""
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


def _try_network(network: nn.Module, pixels: NDArray[np.uint8], labels: tuple[str, ...]) -> None:
    """Run the network on a few faces, and check that it returns logits.

    Raises:
        ConversionError: The network does not accept the pixels, or does not return logits.
    """
    batch = torch.from_numpy(pixels)
    try:
        logits = _run_network(network, batch)
    except Exception as error:  # the network may raise errors of any kind
        raise ConversionError(_explain_failure(network, batch, error)) from error
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
            "the network returns probabilities (each row adds up to 1), but the export adds "
            "softmax; return the logits before its softmax."
        )
    if _seems_unscaled(network, batch, logits):
        warnings.warn(
            "the network has a confidence near 1 for every face, but not if the pixels are divided "
            "by 255: it seems to lack the scaling; begin forward with pixels.float() / 255.",
            stacklevel=3,
        )


@torch.inference_mode()
def _run_network(network: nn.Module, pixels: Tensor) -> Tensor:
    first = next(network.parameters(), None)
    output: Tensor = network(pixels if first is None else pixels.to(first.device))
    return output.cpu() if isinstance(output, Tensor) else output


def _explain_failure(network: nn.Module, batch: Tensor, error: Exception) -> str:
    """Return a sentence that explains why a network does not accept gray 8-bit pixels."""
    gray, colour = batch.float(), batch.expand(-1, 3, -1, -1).contiguous()
    attempts = {
        "the network accepts only float pixels; the input of a model file is uint8, so begin "
        "forward with pixels.float() / 255, or whatever it was trained with": gray,
        "the network needs three channels; the input of a model file is gray, so begin forward "
        "with pixels.expand(-1, 3, -1, -1)": colour,
        "the network needs float pixels with three channels; the input of a model file is gray and "
        "uint8, so begin forward with pixels.float().expand(-1, 3, -1, -1) / 255": colour.float(),
    }
    for sentence, pixels in attempts.items():
        try:
            _run_network(network, pixels)
        except Exception:  # noqa: BLE001  the message has the first error
            continue
        return f"{sentence}."
    shape = tuple(batch.shape)
    return (
        f"the network does not accept uint8 pixels of the shape {shape} ({format_reason(error)})."
    )


def _seems_unscaled(network: nn.Module, batch: Tensor, logits: Tensor) -> bool:
    """Return whether all confidences are near 1, and are not for pixels from 0 to 1."""
    if len(batch) < 2 or not _is_certain(logits):
        return False
    try:
        return not _is_certain(_run_network(network, batch.float() / 255))
    except Exception:  # noqa: BLE001  it accepts only uint8, so it scales them itself
        return False


def _is_certain(logits: Tensor) -> bool:
    return bool((torch.softmax(logits.double(), dim=1).amax(dim=1) > _CERTAIN_PROBABILITY).all())
