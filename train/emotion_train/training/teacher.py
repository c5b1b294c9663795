"""Knowledge distillation: the mean prediction of trained networks is part of the target.

Teacher and student see the same augmented faces: "function matching" (Beyer et al., "Knowledge
distillation: A good teacher is patient and consistent", 2022). On clean training faces, a teacher
would mostly repeat the labels that it has memorised.
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
from emotion_runtime.counts import MAX_THREADS
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.errors import CheckpointError, DataError

# Maps uint8 pixels (n, 1, size, size) to probabilities float32 (n, classes of the network).
_PredictFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TeacherNetwork:
    """One of the networks of a teacher.

    Attributes:
        source: Its name on the command line.
        labels: Its classes, in the order of its probabilities.
        size: Side of its input, in pixels.
        training: The part ``training`` of its file.
        metrics: The part ``metrics`` of its file.
        predict: Returns its probabilities.
    """

    source: str
    labels: tuple[str, ...]
    size: int
    training: dict[str, Any]
    metrics: dict[str, Any]
    predict: _PredictFunction


def require_teacher_network(source: str) -> None:
    """Raise an error if `load_teacher_network` would not find a file; open none.

    Raises:
        CheckpointError: There is no such file, folder or released model.
    """
    names = emotion_models.names()
    if not os.path.lexists(source) and source not in names:
        raise CheckpointError(
            f"{source}: no such checkpoint, run folder or model file; the released models that can "
            f"teach are {', '.join(names)}."
        )


def load_teacher_network(source: str, device: torch.device) -> TeacherNetwork:
    """Load a run folder, a checkpoint, an exported model file or a released model by name.

    A model file runs on the CPU with onnxruntime, which is twice as fast as PyTorch, and four times
    in int8. A checkpoint runs on the device of the training.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ModelFileError: The file is neither a checkpoint nor a model.
        DataError: The path is a device or a pipe.
    """
    path = Path(source)
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise DataError(f"{source}: not a regular file, so no teacher.")
    if not path.is_dir() and path.suffix != ".pt":
        classifier = EmotionClassifier(source, threads=min(torch.get_num_threads(), MAX_THREADS))

        def predict_with_onnxruntime(pixels: Tensor) -> Tensor:
            _, probabilities = classifier.infer(pixels.cpu().numpy())
            return torch.from_numpy(probabilities).to(pixels.device)

        contract = classifier.contract
        return TeacherNetwork(
            source=source,
            labels=classifier.labels,
            size=contract.input.size,
            training=contract.training,
            metrics=contract.metrics,
            predict=predict_with_onnxruntime,
        )
    checkpoint = load_checkpoint(path)
    network = checkpoint.build().to(device).to(memory_format=torch.channels_last)

    def predict_with_torch(pixels: Tensor) -> Tensor:
        logits: Tensor = network(pixels)
        return torch.softmax(logits.float() / checkpoint.temperature, dim=1)

    return TeacherNetwork(
        source=source,
        labels=checkpoint.labels,
        size=checkpoint.size,
        training=checkpoint.training,
        metrics=checkpoint.metrics,
        predict=predict_with_torch,
    )


class Teacher:
    """An ensemble of networks: its prediction is the mean of theirs.

    Args:
        networks: Trained networks; classes that the student lacks are left out.
        classes: The classes of the student, in label order.
        size: Side of the student's input, in pixels.

    Raises:
        DataError: A network lacks a class, or has another input size.
    """

    def __init__(
        self, networks: Sequence[TeacherNetwork], classes: tuple[str, ...], size: int
    ) -> None:
        self._networks = []
        for network in networks:
            if missing := [name for name in classes if name not in network.labels]:
                raise DataError(
                    f"{network.source}: does not know {', '.join(missing)}; a teacher knows all "
                    f"classes of the run: of a model file with the output other, give the "
                    f"checkpoint, or a file exported without --labels."
                )
            if network.size != size:
                raise DataError(
                    f"{network.source}: looks at faces of {network.size}×{network.size} pixels, "
                    f"the run at {size}×{size}."
                )
            columns = [network.labels.index(name) for name in classes]
            self._networks.append((network.predict, columns))

    @torch.no_grad()
    def predict(self, pixels: Tensor) -> Tensor:
        """Return the probabilities of faces.

        Args:
            pixels: uint8, shape (n, 1, size, size).

        Returns:
            float32, shape (n, classes), with rows that sum to 1.
        """
        parts = [predict(pixels)[:, columns] for predict, columns in self._networks]
        parts = [part / part.sum(dim=1, keepdim=True).clamp_min(1e-12) for part in parts]
        return torch.stack(parts).mean(dim=0)

    def digest(self, pixels: Tensor) -> bytes:
        """Return the SHA-256 of the rounded predictions for some faces, equal on all machines."""
        return hashlib.sha256((self.predict(pixels) * 100).round().cpu().numpy().tobytes()).digest()
