"""The learning-rate range test: which rate to train with, found in a few hundred steps.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017: the rate rises
exponentially from step to step, and the loss falls while the rate is right, then rises.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from emotion_train.errors import RunError
from emotion_train.training.trainer import Trainer

RATES = {"adamw": (1e-5, 1.0), "sgd": (1e-4, 10.0)}  # the lowest and highest, by optimiser
# With 300 steps the network `baseline` had learned too little for its loss to show a rate.
FEWEST_STEPS, MOST_STEPS = 500, 1000
SMOOTHED_SHARE = 0.05  # of all steps, in one moving average
DIVERGED_TIMES = 1.5  # the loss at the start, where the test ends
FALL_ERRORS = 5.0  # standard errors of the moving average, by which the loss must fall
# On FER2013 a tenth, which others take, was three times below rates known to be good.
DIVISOR = 3.0  # from the rate of the lowest loss to the suggestion


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Result of a range test.

    Attributes:
        rates: float64, shape (steps,): the learning rate of each step, rising.
        losses: float64, shape (steps,): the mean training loss of each step, in nats.
        smoothed: float64, shape (steps,): the losses in a centred moving average.
        diverged: The loss rose so far that the test ended before the highest rate.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    diverged: bool

    @property
    def lowest(self) -> float:
        """Return the rate at which the smoothed loss is lowest."""
        return float(self.rates[self.smoothed.argmin()])

    @property
    def steepest(self) -> float:
        """Return the rate, below `lowest`, at which the smoothed loss falls fastest."""
        end = max(2, int(self.smoothed.argmin()) + 1)
        slope = np.gradient(self.smoothed[:end], np.log(self.rates[:end]))
        return float(self.rates[slope.argmin()])

    @property
    def suggestion(self) -> float:
        """Return a third of the rate of the lowest loss, rounded to two digits."""
        return float(f"{self.lowest / DIVISOR:.1e}")


def find_learning_rate(trainer: Trainer, *, progress: bool = False) -> RangeTest:
    """Raise the learning rate step by step, from far too low on, until the loss diverges.

    The steps are those of one epoch, 500 at least and 1,000 at most, on the batches that a training
    with the same seed begins with; the same trainer gives the same result.

    Args:
        trainer: One that has not trained yet. Its weights are changed, and of no further use.
        progress: Show a bar on a terminal.

    Raises:
        RunError: The loss fell by no more than its noise.
    """
    steps = min(MOST_STEPS, max(FEWEST_STEPS, len(trainer.batches)))
    window = max(5, round(SMOOTHED_SHARE * steps))
    all_rates = np.geomspace(*RATES[trainer.recipe.optimizer], steps)
    losses: list[float] = []
    first, diverged = math.inf, False
    torch.manual_seed(trainer.recipe.seed)
    trainer.network.train()
    trainer.frozen.hold()
    bar = tqdm(
        zip(all_rates, _batches(trainer), strict=False),
        total=steps,
        desc="finding the learning rate",
        unit=" steps",
        leave=False,
        disable=None if progress else True,
    )
    for rate, (pixels, targets, total) in bar:
        for group in trainer.optimizer.param_groups:
            group["lr"] = float(rate)
        summed = trainer.take_step(trainer.network, pixels, targets, total)
        losses.append(float(summed) / total)
        recent = float(np.mean(losses[-window:]))
        if not math.isfinite(recent) or recent > DIVERGED_TIMES * first:
            diverged = True
            break
        if len(losses) == window:
            first = recent
    measured = np.array(losses)
    finite = np.isfinite(measured)
    kept = len(measured) if finite.all() else int(finite.argmin())
    found = RangeTest(all_rates[:kept], measured[:kept], _smooth(measured[:kept], window), diverged)
    if kept < window or not _fell(found, window):
        raise RunError(
            f"the loss fell at no learning rate from {all_rates[0]:g} to {all_rates[kept - 1]:.2g} "
            f"by more than its noise, so that none can be suggested; try --augmentation none or a "
            f"larger --batch-size, and look at the labels of the data."
        )
    return found


def _fell(found: RangeTest, window: int) -> bool:
    """Return whether the loss fell by more than the noise of its moving average."""
    end = int(found.smoothed.argmin()) + 1
    noise = float(np.std((found.losses - found.smoothed)[:end])) / math.sqrt(window)
    return bool(found.smoothed[0] - found.smoothed[end - 1] > FALL_ERRORS * noise)


def _batches(trainer: Trainer) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Return the batches of one epoch after another."""
    epoch = 0
    while True:
        trainer.batches.set_epoch(epoch)
        yield from trainer.augmented
        epoch += 1


def _smooth(losses: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return a centred moving average; at the ends, of the steps that are there."""
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    places = np.arange(len(losses))
    low = np.maximum(places - window // 2, 0)
    high = np.minimum(places + window // 2 + 1, len(losses))
    smoothed: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return smoothed
