"""Checkpoints: written atomically, and read without running code."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion_runtime.atomic import write_atomically
from emotion_runtime.terminal import escape_controls
from emotion_train.checkpoints.file import read_values
from emotion_train.checkpoints.parts import check_parts
from emotion_train.errors import CheckpointError
from emotion_train.networks import NETWORKS, build_network
from emotion_train.networks.face_network import FaceNetwork, count_multiply_adds
from emotion_train.run_folder import RunFolder

FORMAT = "emotion-edge checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with its metrics and training settings.

    Attributes:
        network: A name in `emotion_train.networks.NETWORKS`.
        labels: Class names in the order of the logits.
        weights: The state dict to evaluate and export; the moving average, if the recipe has one.
        size: Side of the network's input, in pixels.
        temperature: Divisor of the logits before softmax; 1 until it is fitted.
        min_confidence: The confidence threshold, below which the label is ``uncertain``; 0 for
            no threshold.
        metrics: The figures of the report; empty until measured.
        training: Recipe, seed, epochs, data digest and tool versions, as JSON values.
        average_faces: Averages of training faces, uint8 (k, 1, size, size).
        probe: The preprocessed picture of `emotion_runtime.model.self_test`, uint8 (size, size);
            empty until measured.
        multiply_adds: Multiply-adds of the network for one face; None in files of older versions.
        resume: The state of the training loop; in ``last.pt`` only.
    """

    network: str
    labels: tuple[str, ...]
    weights: dict[str, Tensor]
    size: int = 48
    temperature: float = 1.0
    min_confidence: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    average_faces: Tensor = field(
        default_factory=lambda: torch.empty(0, 1, 48, 48, dtype=torch.uint8)
    )
    probe: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    multiply_adds: int | None = None
    resume: dict[str, Any] | None = None

    def build(self) -> FaceNetwork:
        """Return the network with these weights, in evaluation mode on the CPU.

        Raises:
            CheckpointError: The weights do not fit the network.
        """
        network = build_network(self.network, len(self.labels), self.size)
        try:
            network.load_state_dict(self.weights)
        except (RuntimeError, AttributeError) as error:
            reason = escape_controls(str(error).splitlines()[-1].strip()[:200])
            raise CheckpointError(
                f"the checkpoint's weights do not fit the network {self.network} ({reason})"
            ) from error
        # The same weights also fit another stride, which would change the predictions.
        if self.multiply_adds not in (None, count_multiply_adds(network)):
            raise CheckpointError(
                f"the checkpoint is of another form of the network {self.network}; train it "
                f"again, perhaps with --start-from this checkpoint."
            )
        return network.eval()

    def save(self, path: Path) -> None:
        """Write the checkpoint; an earlier file at `path` stays until the new one is complete."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        values = {"format": FORMAT, "version": VERSION, **parts, "labels": list(self.labels)}
        # To an open file, because torch's own writer hides the reason when the disk is full.
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(values, file)
            except RuntimeError as error:  # of closing the archive, after a failed write
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint, or the ``best.pt`` of a run folder, without running code in it.

    Raises:
        CheckpointError: The file is missing, no checkpoint, of another version, contains code, or
            has a part of the wrong type or shape.
    """
    if path.is_dir():
        path = RunFolder(path).best_checkpoint
    values = read_values(path)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of emotion-train.")
    version = values.pop("version", None)
    if version != VERSION:
        raise CheckpointError(
            f"{path}: a checkpoint of version {_format_value(version)}; this emotion-edge reads "
            f"version {VERSION}."
        )
    network = values.get("network")
    if not isinstance(network, str) or network not in NETWORKS:
        raise CheckpointError(
            f"{path}: of the network {_format_value(network)}, unknown here "
            f"(known: {', '.join(NETWORKS)})."
        )
    names = [part.name for part in fields(Checkpoint)]
    if unknown := [name for name in values if name not in names]:
        raise CheckpointError(
            f"{path}: a checkpoint with an unknown part, {_format_value(unknown[0])}."
        )
    missing = [name for name in ("labels", "weights") if name not in values]
    if missing:
        raise CheckpointError(f"{path}: a checkpoint that lacks {', '.join(missing)}.")
    try:
        check_parts(values)
    except ValueError as error:
        raise CheckpointError(f"{path}: a damaged checkpoint: {error}.") from error
    return Checkpoint(**{**values, "labels": tuple(values["labels"])})


def _format_value(value: Any) -> str:
    """Return a short text for a value from a file; for a list or the like, its type."""
    if value is None or isinstance(value, str | int | float):
        return escape_controls(repr(value)[:60])
    return f"a {type(value).__name__}"
