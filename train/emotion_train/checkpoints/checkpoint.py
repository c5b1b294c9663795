"""Checkpoints: what a run leaves behind, whole or not at all, and never a pickle that runs code."""

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
from emotion_train.networks.face_network import FaceNetwork, multiply_adds

FORMAT = "emotion-edge checkpoint"
VERSION = 1
BEST = "best.pt"
LAST = "last.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what is known of it.

    Attributes:
        network: A name in `emotion_train.networks.NETWORKS`.
        labels: Class names in the order of the logits.
        weights: The state dict that evaluates best (averaged, where the recipe averages).
        size: Side of the network's input, in pixels.
        temperature: Logits are divided by it before softmax; 1 until fitted.
        min_confidence: The confidence threshold, below which the label is ``uncertain``; 0 for
            none.
        metrics: The report's figures with the data they were measured on; empty until measured.
        training: Recipe, seed, epochs, data digest, tool versions: plain JSON values.
        average_faces: uint8 (k, 1, size, size): averages of training faces, no person's picture.
        probe: What the picture of `emotion_runtime.model.self_test` becomes when the training
            reads it, uint8 (size, size); empty until measured.
        multiply_adds: Of one face through the network that was trained; None in files of before
            this was recorded.
        resume: The state of the loop; in ``last.pt`` alone.
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
        """Build the network with these weights, in evaluation mode on the CPU.

        Raises:
            CheckpointError: The weights do not fit the network.
        """
        network = build_network(self.network, len(self.labels), self.size)
        try:
            network.load_state_dict(self.weights)
        except (RuntimeError, AttributeError) as error:
            first = escape_controls(str(error).splitlines()[-1].strip()[:200])
            raise CheckpointError(
                f"the checkpoint's weights do not fit the network {self.network} ({first})"
            ) from error
        # The same weights also fit another stride, and would answer otherwise.
        if self.multiply_adds not in (None, multiply_adds(network)):
            raise CheckpointError(
                f"the checkpoint is of another form of the network {self.network}; train it "
                f"anew, perhaps with --start-from this checkpoint."
            )
        return network.eval()

    def save(self, path: Path) -> None:
        """Write the checkpoint; an earlier file at `path` stays until the new one is whole."""
        values = {
            "format": FORMAT,
            "version": VERSION,
            **self.__dict__,
            "labels": list(self.labels),
        }
        # To an open file: torch's own writer has no word for a full disk.
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            torch.save(values, file)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the ``best.pt`` of a run folder; no code in the file is ever run.

    Raises:
        CheckpointError: The file is missing, no checkpoint, of another version, holds code, or a
            part of it has not the type or shape that it must have.
    """
    if path.is_dir():
        path = path / BEST
    values = read_values(path)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of emotion-train.")
    version = values.pop("version", None)
    if version != VERSION:
        raise CheckpointError(
            f"{path}: a checkpoint of version {_shown(version)}; this emotion-edge reads version "
            f"{VERSION}."
        )
    network = values.get("network")
    if not isinstance(network, str) or network not in NETWORKS:
        raise CheckpointError(
            f"{path}: of the network {_shown(network)}, unknown here "
            f"(known: {', '.join(NETWORKS)})."
        )
    names = [one.name for one in fields(Checkpoint)]
    if unknown := [name for name in values if name not in names]:
        raise CheckpointError(f"{path}: a checkpoint with an unknown part, {_shown(unknown[0])}.")
    lacking = [name for name in ("labels", "weights") if name not in values]
    if lacking:
        raise CheckpointError(f"{path}: a checkpoint that lacks {', '.join(lacking)}.")
    try:
        check_parts(values)
    except ValueError as error:
        raise CheckpointError(f"{path}: a damaged checkpoint: {error}.") from error
    return Checkpoint(**{**values, "labels": tuple(values["labels"])})


def _shown(value: Any) -> str:
    """Return a short form of a value from a file; of a list or the like, its type alone."""
    if value is None or isinstance(value, str | int | float):
        return escape_controls(repr(value)[:60])
    return f"a {type(value).__name__}"
