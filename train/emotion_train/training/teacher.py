"""A teacher: trained networks that answer the very view of a face that their pupil is shown.

Function matching (Beyer et al., 2022, "Knowledge distillation: A good teacher is patient and
consistent"): the teacher sees the face turned, blurred and cut as the pupil sees it. Asked once on
clean training faces it would only repeat what it learned by heart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import emotion_models
from emotion_runtime.classifier import EmotionClassifier
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.errors import CheckpointError, DataError

# Maps uint8 pixels (n, 1, size, size) to probabilities float32 (n, classes of the member).
_Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Member:
    """One trained network among a teacher's.

    Attributes:
        source: How the user named it.
        labels: Its classes, in the order of its answers.
        size: Side of its input, in pixels.
        training: What its file says of its training.
        metrics: What its file says that it was measured on.
        answer: Gives its probabilities.
    """

    source: str
    labels: tuple[str, ...]
    size: int
    training: dict[str, Any]
    metrics: dict[str, Any]
    answer: _Answer


def require_teacher_network(source: str) -> None:
    """Refuse what `load_teacher_network` would not find; it opens nothing.

    Raises:
        CheckpointError: There is no such file, folder or released model.
    """
    names = emotion_models.names()
    if not os.path.lexists(source) and source not in names:
        raise CheckpointError(
            f"{source}: no such checkpoint, run folder or model file; the released models that can "
            f"teach are {', '.join(names)}."
        )


def load_teacher_network(source: str, device: torch.device) -> Member:
    """Open a run folder, a checkpoint, an exported model file or a released model by name.

    A model file runs on the CPU in onnxruntime, which there is twice as fast as PyTorch, and four
    times as fast in int8; a checkpoint runs where the pupil is trained.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ModelFileError: Neither a checkpoint nor a model.
        DataError: Neither a file nor a folder, but a device or a pipe.
    """
    path = Path(source)
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise DataError(f"{source}: not a regular file, so no teacher.")
    if not path.is_dir() and path.suffix != ".pt":
        classifier = EmotionClassifier(source, threads=torch.get_num_threads())

        def inferred(pixels: Tensor) -> Tensor:
            _, probabilities = classifier.infer(pixels.cpu().numpy())
            return torch.from_numpy(probabilities).to(pixels.device)

        contract = classifier.contract
        size = contract.input.size
        metrics = contract.metrics
        return Member(source, classifier.labels, size, contract.training, metrics, inferred)
    checkpoint = load_checkpoint(path)
    network = checkpoint.build().to(device).to(memory_format=torch.channels_last)

    def computed(pixels: Tensor) -> Tensor:
        logits: Tensor = network(pixels)
        return torch.softmax(logits.float() / checkpoint.temperature, dim=1)

    training, metrics = checkpoint.training, checkpoint.metrics
    return Member(source, checkpoint.labels, checkpoint.size, training, metrics, computed)


class Teacher:
    """The mean of its members' answers.

    Args:
        members: Trained networks; classes that the pupil lacks are left out of their answers.
        classes: The pupil's classes, in label order.
        size: Side of the pupil's input, in pixels.

    Raises:
        DataError: A member lacks a class, or looks at faces of another size.
    """

    def __init__(self, members: Sequence[Member], classes: tuple[str, ...], size: int) -> None:
        self._members = []
        for member in members:
            if lacking := [name for name in classes if name not in member.labels]:
                raise DataError(f"{member.source}: does not know {', '.join(lacking)}.")
            if member.size != size:
                raise DataError(
                    f"{member.source}: looks at faces of {member.size}×{member.size} pixels, the "
                    f"run at {size}×{size}."
                )
            self._members.append((member.answer, [member.labels.index(name) for name in classes]))

    @torch.no_grad()
    def answer(self, pixels: Tensor) -> Tensor:
        """Answer faces.

        Args:
            pixels: uint8, shape (n, 1, size, size).

        Returns:
            Probabilities, float32, shape (n, classes), rows that add up to 1.
        """
        shares = [answer(pixels)[:, columns] for answer, columns in self._members]
        shares = [share / share.sum(dim=1, keepdim=True).clamp_min(1e-12) for share in shares]
        return torch.stack(shares).mean(dim=0)

    def digest(self, pixels: Tensor) -> bytes:
        """Fingerprint what it says of some faces, rounded, so that another machine says it too."""
        return hashlib.sha256((self.answer(pixels) * 100).round().cpu().numpy().tobytes()).digest()
