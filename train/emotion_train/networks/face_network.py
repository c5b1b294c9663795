"""The interface of all networks: from pixels, 0 to 255, to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotion_train.networks.scaling import Scaling


class FaceNetwork(nn.Module):
    """A network with its input scaling, which is saved with the weights."""

    def __init__(self, name: str, size: int, scaling: Scaling, body: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.scaling = scaling
        self.body = body

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of pixels (batch, 1, size, size), 0 to 255, any dtype."""
        logits: Tensor = self.body(self.scaling(pixels))
        return logits


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@torch.inference_mode()
def count_multiply_adds(network: FaceNetwork) -> int:
    """Return the multiply-adds for one face, from torch's counter of floating-point operations."""
    from torch.utils.flop_counter import FlopCounterMode

    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, network.size, network.size, dtype=torch.uint8, device=device))
    network.train(was_training)
    return int(counter.get_total_flops()) // 2
