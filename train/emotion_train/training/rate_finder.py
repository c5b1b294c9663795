"""The learning-rate range test, which finds a learning rate in a few hundred steps.

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
from emotion_train.training.batches import TrainingBatch
from emotion_train.training.trainer import Trainer

RATES = {"adamw": (1e-5, 1.0), "sgd": (1e-4, 10.0)}  # lowest and highest, by optimiser
# After 300 steps the loss of the network `baseline` had not fallen enough to show a rate.
MIN_STEPS, MAX_STEPS = 500, 1000
MOVING_AVERAGE_SHARE = 0.05  # of all steps, in the window of the moving average
DIVERGENCE_FACTOR = 1.5  # the test ends when the loss exceeds that at the start by this factor
MIN_FALL_IN_ERRORS = 5.0  # by which the loss must fall, in standard errors of the moving average
# The suggestion is a third of the rate with the lowest loss. The common tenth was three times too
# low on FER2013.
SUGGESTION_DIVISOR = 3.0


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Result of a range test.

    Attributes:
        rates: float64, shape (steps,), the rising learning rate of each step.
        losses: float64, shape (steps,), the mean training loss of each step, in nats.
        smoothed: float64, shape (steps,), the centred moving average of the losses.
        has_diverged: The test ended early because the loss had risen too far.
        noise: Standard error of the moving average, in nats.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    has_diverged: bool
    noise: float = 0.0

    @property
    def lowest(self) -> float:
        """Return the rate at which the smoothed loss is lowest.

        Where several rates are equal within the noise, it is the highest of them: on few pictures
        the curve is flat over a decade, and its first dip is chance.
        """
        equal = np.flatnonzero(self.smoothed <= self.smoothed.min() + self.noise)
        return float(self.rates[equal[-1]])

    @property
    def steepest(self) -> float:
        """Return the rate, below `lowest`, at which the smoothed loss falls fastest."""
        end = max(2, int(self.smoothed.argmin()) + 1)
        slope = np.gradient(self.smoothed[:end], np.log(self.rates[:end]))
        return float(self.rates[slope.argmin()])

    @property
    def suggestion(self) -> float:
        """Return a third of the rate of the lowest loss, rounded to two digits."""
        return float(f"{self.lowest / SUGGESTION_DIVISOR:.1e}")


def find_learning_rate(trainer: Trainer, *, progress: bool = False) -> RangeTest:
    """Raise the learning rate exponentially until the loss diverges.

    There are as many steps as in an epoch, but at least 500 and at most 1,000. The batches are
    those of a training with the same seed; the same trainer gives the same result.

    Args:
        trainer: A trainer that has not trained yet; it cannot be used afterwards.
        progress: Show a bar on a terminal.

    Raises:
        RunError: The loss fell by less than its noise.
    """
    steps = min(MAX_STEPS, max(MIN_STEPS, len(trainer.batches)))
    window = max(5, round(MOVING_AVERAGE_SHARE * steps))
    all_rates = np.geomspace(*RATES[trainer.recipe.optimizer], steps)
    losses: list[float] = []
    first, has_diverged = math.inf, False
    torch.manual_seed(trainer.recipe.seed)
    trainer.network.train()
    trainer.frozen.set_eval_mode()
    bar = tqdm(
        zip(all_rates, _repeat_batches(trainer), strict=False),
        total=steps,
        desc="finding the learning rate",
        unit=" steps",
        leave=False,
        disable=None if progress else True,
    )
    for rate, batch in bar:
        for group in trainer.optimizer.param_groups:
            group["lr"] = float(rate)
        summed = trainer.take_step(trainer.network, *batch)
        losses.append(float(summed) / batch.total)
        recent = float(np.mean(losses[-window:]))
        if not math.isfinite(recent) or recent > DIVERGENCE_FACTOR * first:
            has_diverged = True
            break
        if len(losses) == window:
            first = recent
    measured = np.array(losses)
    finite = np.isfinite(measured)
    kept = len(measured) if finite.all() else int(finite.argmin())
    smoothed = _smooth(measured[:kept], window)
    noise = _measure_noise(measured[:kept], smoothed, window) if kept else 0.0
    found = RangeTest(all_rates[:kept], measured[:kept], smoothed, has_diverged, noise)
    if kept < window or not _has_fallen(found):
        raise RunError(
            f"the loss fell at no learning rate from {all_rates[0]:g} to {all_rates[kept - 1]:.2g} "
            f"by more than its noise, so that none can be suggested; try --augmentation none or a "
            f"larger --batch-size, and look at the labels of the data."
        )
    return found


def _measure_noise(
    losses: NDArray[np.float64], smoothed: NDArray[np.float64], window: int
) -> float:
    """Return the standard error of the moving average, up to its lowest value."""
    end = int(smoothed.argmin()) + 1
    return float(np.std((losses - smoothed)[:end])) / math.sqrt(window)


def _has_fallen(found: RangeTest) -> bool:
    """Return whether the loss fell by more than the noise of its moving average."""
    fall = found.smoothed[0] - found.smoothed.min()
    return bool(fall > MIN_FALL_IN_ERRORS * found.noise)


def _repeat_batches(trainer: Trainer) -> Iterator[TrainingBatch]:
    """Yield the batches of one epoch after another."""
    epoch = 0
    while True:
        trainer.batches.set_epoch(epoch)
        yield from trainer.augmented
        epoch += 1


def _smooth(losses: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the centred moving average, with shorter windows at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    steps = np.arange(len(losses))
    low = np.maximum(steps - window // 2, 0)
    high = np.minimum(steps + window // 2 + 1, len(losses))
    smoothed: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return smoothed
