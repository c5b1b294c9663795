"""Start from what another run has learned, also where it knew other classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from emotion_train.checkpoint import Checkpoint
from emotion_train.errors import RunError
from emotion_train.networks.face_network import FaceNetwork


def blend(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Average the weights of runs that began alike: a "model soup" (Wortsman et al., 2022).

    Runs of one network that started from the same weights lie in one valley, and the mean of
    their weights is often better than each of them.

    Raises:
        RunError: They are of different networks or classes.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if (other.network, other.labels, other.size) != (first.network, first.labels, first.size):
            raise RunError("runs to start from together must be of one network and its classes.")
    mean = {
        name: torch.stack([one.weights[name].float() for one in checkpoints]).mean(0).to(value)
        for name, value in first.weights.items()
    }
    return replace(first, weights=mean)


def transfer(initial: Checkpoint, network: FaceNetwork, classes: tuple[str, ...]) -> None:
    """Copy the weights of `initial` into `network`, in place.

    A layer with one row for each class gets the rows of the classes that both know; the others
    keep their fresh weights.

    Args:
        initial: A checkpoint of the same architecture.
        network: What is about to be trained.
        classes: Its classes, in label order.

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
    for name, fresh in weights.items():
        old = initial.weights[name].to(fresh.device)
        if name not in (f"{last}.weight", f"{last}.bias"):
            weights[name] = old
            continue
        for new_row, old_row in shared:
            fresh[new_row] = old[old_row]
    network.load_state_dict(weights)
