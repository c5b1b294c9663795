"""Freezing of the lower layers of a network."""

from __future__ import annotations

from torch import nn

from emotion_train.errors import RunError
from emotion_train.networks.face_network import FaceNetwork
from emotion_train.recipe import FREEZE_FEATURES, FREEZE_NOTHING


class FrozenLayers:
    """The lower layers of a network, whose weights and batch-normalisation statistics are fixed.

    Args:
        network: Convolutions and linear layers count as layers, from the input on.
        choice: ``none``, ``features`` for all convolutions, or a number of layers.

    Raises:
        RunError: No layer would be left to train.

    Attributes:
        count: Number of frozen layers.
        total: Number of layers of the network.
    """

    def __init__(self, network: FaceNetwork, choice: str) -> None:
        layers = [m for m in network.body.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        count = 0
        if choice == FREEZE_FEATURES:
            count = sum(isinstance(layer, nn.Conv2d) for layer in layers)
        elif choice != FREEZE_NOTHING:
            count = int(choice)
        if count >= len(layers):
            raise RunError(
                f"--freeze {choice}: {network.name} has {len(layers)} layers, of which the last "
                f"must be trained; freeze {len(layers) - 1} at most."
            )
        self.count, self.total = count, len(layers)
        self._modules: list[nn.Module] = []
        seen = 0
        for module in network.body.modules():
            seen += isinstance(module, nn.Conv2d | nn.Linear)
            if seen > count:
                break
            # Freeze the normalisation after a layer too; modules without parameters, such as
            # dropout, stay active.
            if seen and next(module.parameters(recurse=False), None) is not None:
                self._modules.append(module)
        for module in self._modules:
            module.requires_grad_(False)

    def set_eval_mode(self) -> None:
        """Fix the statistics of batch normalisation; call it after ``network.train()``."""
        for module in self._modules:
            module.eval()
