"""What every network has in common: pixels as they come go in, logits come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotion_train.networks.scaling import Scaling


class FaceNetwork(nn.Module):
    """A registered network with its scaling in front, which travels with its weights."""

    def __init__(self, name: str, size: int, scaling: Scaling, body: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.scaling = scaling
        self.body = body

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (batch, 1, size, size), 0…255, uint8 or float, to logits (batch, classes)."""
        logits: Tensor = self.body(self.scaling(pixels))
        return logits


def parameter_count(network: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@torch.inference_mode()
def multiply_adds(network: FaceNetwork) -> int:
    """Count the multiply-adds of one face, by torch's own counter of floating-point operations."""
    from torch.utils.flop_counter import FlopCounterMode

    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, network.size, network.size, dtype=torch.uint8, device=device))
    network.train(was_training)
    return int(counter.get_total_flops()) // 2
