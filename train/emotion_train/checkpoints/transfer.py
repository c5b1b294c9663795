"""Start from what another run has learned, also where it knew other classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import emotion_models
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.errors import CheckpointError, RunError
from emotion_train.networks.face_network import FaceNetwork


def average_weights(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Average the weights of runs that began alike: a "model soup" (Wortsman et al., 2022).

    Runs of one network that started from the same weights lie in one valley, and the mean of
    their weights is often better than each of them.

    Returns:
        A checkpoint with the mean of the weights, whose `training` holds the `lineage` of each.

    Raises:
        RunError: They are of different networks or classes.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if (other.network, other.labels, other.size) != (first.network, first.labels, first.size):
            raise RunError("runs to start from together must be of one network and its classes.")
        if _shapes(other.weights) != _shapes(first.weights):
            raise RunError("runs to start from together must be of one form of their network.")
    mean = {
        name: torch.stack([one.weights[name].float() for one in checkpoints]).mean(0).to(value)
        for name, value in first.weights.items()
    }
    return replace(
        first, weights=mean, training={"parents": [describe_lineage(c) for c in checkpoints]}
    )


def describe_lineage(checkpoint: Checkpoint) -> dict[str, Any]:
    """Describe a checkpoint to those that come of it: JSON values, no path.

    Returns:
        ``weights``, the digest of its weights, what its own training says of recipe, epochs and
        data, and ``ancestors``, the digests of the weights that it came of.
    """
    training = checkpoint.training
    kept = ("recipe", "epoch", "epochs", "data_digest")
    told = {name: training[name] for name in kept if name in training}
    ancestors: set[str] = set()
    for name in ("started_from", "averaged_from"):
        parents = training.get(name)
        for parent in parents if isinstance(parents, list) else ():
            if isinstance(parent, dict):
                ancestors |= {str(parent.get("weights")), *map(str, parent.get("ancestors") or ())}
    return {
        "weights": hash_weights(checkpoint.weights),
        **told,
        "ancestors": sorted(ancestors - {"None"}),
    }


def hash_weights(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict: of names, types, shapes and values, in order of name."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def load_initial(source: str) -> Checkpoint:
    """Open what a run starts from: a run folder, a checkpoint, or a released network by its name.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be read.
        RunError: The name is that of a model file, which has no weights to go on training from.
    """
    return load_checkpoint(find_initial_path(source))


def find_initial_path(source: str) -> Path:
    """Return the path of what `load_initial` opens; raises as that does."""
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
    """What a network took over.

    Attributes:
        convolutions: Convolutions that were carried over.
        linear: Linear layers that were carried over as a whole.
        last: Name of the last layer, which has a row for each class.
        kept: Classes whose row was carried over.
        fresh: Classes whose row starts from fresh weights.
    """

    convolutions: int
    linear: int
    last: str
    kept: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        text = (
            f"carried over: {_counted(self.convolutions, 'convolution')} and "
            f"{_counted(self.linear, 'linear layer')}"
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
    """Copy the weights of `initial` into `network`, in place.

    A layer with one row for each class gets the rows of the classes that both know; the others
    keep their fresh weights.

    Args:
        initial: A checkpoint of the same architecture.
        network: What is about to be trained.
        classes: Its classes, in label order.

    Returns:
        What was carried over, and what starts fresh.

    Raises:
        RunError: The architectures differ.
    """
    if (initial.network, initial.size) != (network.name, network.size):
        raise RunError(
            f"the checkpoint to start from is of the network {initial.network} on "
            f"{initial.size}×{initial.size} pixels, the run trains {network.name} on "
            f"{network.size}×{network.size}."
        )
    shared = [
        (new, initial.labels.index(c)) for new, c in enumerate(classes) if c in initial.labels
    ]
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    weights = network.state_dict()
    if weights.keys() != initial.weights.keys():
        raise RunError(
            f"the checkpoint to start from holds another {initial.network} than this version of "
            f"emotion-train builds; train it anew, or start from fresh weights."
        )
    per_class = (f"{last}.weight", f"{last}.bias")
    for name, fresh in weights.items():
        old = initial.weights[name].to(fresh.device)
        expected = (len(initial.labels), *fresh.shape[1:]) if name in per_class else fresh.shape
        if tuple(old.shape) != tuple(expected):
            raise RunError(
                f"the checkpoint to start from has weights {name} of shape {tuple(old.shape)} "
                f"where the network {network.name} has {tuple(expected)}."
            )
        if name not in per_class:
            weights[name] = old
            continue
        for new_row, old_row in shared:
            fresh[new_row] = old[old_row]
    network.load_state_dict(weights)
    kinds = [type(module) for module in network.modules()]
    return TransferSummary(
        kinds.count(nn.Conv2d),
        kinds.count(nn.Linear) - 1,
        last,
        tuple(name for name in classes if name in initial.labels),
        tuple(name for name in classes if name not in initial.labels),
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
