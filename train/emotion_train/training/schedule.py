"""Optimisers and learning-rate schedules, by name."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from emotion_train.recipe import Recipe


def build_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimiser of a recipe, without weight decay of biases and normalisation."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    # Fused, in one pass over all weights, it saves a tenth of a step with small batches.
    return AdamW(groups, lr=recipe.learning_rate, fused=True)


def build_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LambdaLR:
    """Return the learning-rate schedule of a recipe over `steps` optimiser steps."""
    warmup = max(1, round(recipe.warmup * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if recipe.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(1, steps - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)
