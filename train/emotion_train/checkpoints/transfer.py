"""Transfer learning: initial weights from other runs, also with other classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import emotion_models
from emotion_runtime.prediction import format_count
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.errors import CheckpointError, RunError
from emotion_train.networks.face_network import FaceNetwork


def average_weights(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return the average of checkpoints, a "model soup" (Wortsman et al., 2022).

    Runs of one network that started from the same weights lie in one basin of the loss, and the
    mean of their weights is often better than each of them.

    Returns:
        A checkpoint with the mean of the weights, and in `training` the lineage of each.

    Raises:
        RunError: The networks or classes differ.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if (other.network, other.labels, other.size) != (first.network, first.labels, first.size):
            raise RunError("runs to start from together must be of one network and its classes.")
        if _list_shapes(other.weights) != _list_shapes(first.weights):
            raise RunError("runs to start from together must be of one form of their network.")
    mean = {
        name: torch.stack([one.weights[name].float() for one in checkpoints]).mean(0).to(value)
        for name, value in first.weights.items()
    }
    return replace(
        first, weights=mean, training={"parents": [describe_lineage(c) for c in checkpoints]}
    )


def describe_lineage(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the lineage of a checkpoint, for its descendants: JSON values without paths.

    Returns:
        ``weights``, the digest of its weights; recipe, epochs and data digest of its training; and
        ``ancestors``, the digests of the weights from which it descends.
    """
    training = checkpoint.training
    names = ("recipe", "epoch", "epochs", "data_digest")
    settings = {name: training[name] for name in names if name in training}
    ancestors: set[str] = set()
    for name in ("started_from", "averaged_from"):
        parents = training.get(name)
        for parent in parents if isinstance(parents, list) else ():
            if isinstance(parent, dict):
                ancestors |= {str(parent.get("weights")), *map(str, parent.get("ancestors") or ())}
    return {
        "weights": hash_weights(checkpoint.weights),
        **settings,
        "ancestors": sorted(ancestors - {"None"}),
    }


def hash_weights(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict: of names, dtypes, shapes and values, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _list_shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def load_initial(source: str) -> Checkpoint:
    """Load the initial weights of a run.

    Args:
        source: A run folder, a checkpoint, or the name of a released network.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be read.
        RunError: The name is that of a model file, whose weights cannot be trained.
    """
    return load_checkpoint(find_initial_path(source))


def find_initial_path(source: str) -> Path:
    """Return the path of the checkpoint that `load_initial` loads; raise the same errors."""
    path = Path(source)
    if path.exists():
        return path
    if source in emotion_models.checkpoint_names():
        return emotion_models.checkpoint_path(source)
    if source in emotion_models.names():
        names = ", ".join(emotion_models.checkpoint_names())
        raise RunError(
            f"{source}: a model file for devices, whose weights cannot be trained; of the "
            f"released networks, {names} can be started from."
        )
    if not path.is_symlink():
        raise CheckpointError(
            f"{source}: no such checkpoint or run folder; the released networks to start from are "
            f"{', '.join(emotion_models.checkpoint_names())}."
        )
    return path


@dataclass(frozen=True)
class TransferSummary:
    """The weights that were transferred to a network.

    Attributes:
        convolutions: Number of convolutions that were transferred.
        linear: Number of linear layers that were transferred completely.
        last: Name of the last layer, which has a row for each class.
        kept: Classes whose row was transferred.
        fresh: Classes whose row keeps its random weights.
    """

    convolutions: int
    linear: int
    last: str
    kept: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        text = (
            f"carried over: {format_count(self.convolutions, 'convolution')} and "
            f"{format_count(self.linear, 'linear layer')}"
        )
        if self.kept:
            text += f", and of the last layer the rows of {', '.join(self.kept)}"
        if not self.fresh:
            return text
        rows = f" of {', '.join(self.fresh)}" if self.kept else ""
        return f"{text}; fresh: the last layer ({self.last}){rows}"


def transfer_weights(
    initial: Checkpoint, network: FaceNetwork, classes: tuple[str, ...]
) -> TransferSummary:
    """Copy the weights of a checkpoint into a network, in place.

    In the last layer, which has a row for each class, only the rows of shared classes are copied;
    the others keep their random weights.

    Args:
        initial: A checkpoint of the same network.
        network: The network to train.
        classes: The classes of the network, in label order.

    Returns:
        Which weights were copied.

    Raises:
        RunError: The networks differ.
    """
    if (initial.network, initial.size) != (network.name, network.size):
        raise RunError(
            f"the checkpoint to start from is of the network {initial.network} on "
            f"{initial.size}×{initial.size} pixels, the run trains {network.name} on "
            f"{network.size}×{network.size}."
        )
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    weights = network.state_dict()
    if weights.keys() != initial.weights.keys():
        raise RunError(
            f"the checkpoint to start from holds another {initial.network} than this version of "
            f"emotion-train builds; train it again, or start from fresh weights."
        )
    for name, fresh in weights.items():
        has_class_rows = name in (f"{last}.weight", f"{last}.bias")
        old = initial.weights[name].to(fresh.device)
        expected = (len(initial.labels), *fresh.shape[1:]) if has_class_rows else fresh.shape
        if tuple(old.shape) != tuple(expected):
            raise RunError(
                f"the checkpoint to start from has weights {name} of shape {tuple(old.shape)} "
                f"where the network {network.name} has {tuple(expected)}."
            )
        if not has_class_rows:
            weights[name] = old
            continue
        for row, label in enumerate(classes):
            if label in initial.labels:
                fresh[row] = old[initial.labels.index(label)]
    network.load_state_dict(weights)
    module_types = [type(module) for module in network.modules()]
    return TransferSummary(
        convolutions=module_types.count(nn.Conv2d),
        linear=module_types.count(nn.Linear) - 1,
        last=last,
        kept=tuple(name for name in classes if name in initial.labels),
        fresh=tuple(name for name in classes if name not in initial.labels),
    )
