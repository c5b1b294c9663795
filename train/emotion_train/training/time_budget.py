"""Plan a training that ends within a number of minutes, and notice when it would not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from emotion_train.errors import RunError

MAX_EPOCHS = 200  # more gained nothing in the trials
PLANNED_SHARE = 0.95  # of the time that is left; the rest is for a machine that slows down
EPOCH_OVERHEAD_SECONDS = 0.1  # checkpoints and history.csv
REPORT_SECONDS = 4.0  # the report without its predictions; drawing the figures is most of it
MEASURING_SHARE = 0.05  # of the minutes that are given
MAX_MEASURING_SECONDS = 5.0
WARM_UP_STEPS = 3
FEWEST_STEPS, MOST_STEPS = 5, 200  # that are measured
PREDICTED_FACES = 256


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, measured on the run's own batches.

    Attributes:
        step_seconds: For a training step of one batch.
        face_seconds: For the prediction of one face.
    """

    step_seconds: float
    face_seconds: float


@dataclass(frozen=True)
class TimeBudget:
    """The minutes that a run may take, from its beginning to its report.

    Attributes:
        minutes: All of them.
        clock: Returns seconds; only differences count.
        begun: What the clock showed when the run began.
    """

    minutes: float
    clock: Callable[[], float] = time.monotonic
    begun: float = field(default_factory=time.monotonic)

    @property
    def measuring_seconds(self) -> float:
        """Return how long to measure the pace."""
        return min(MAX_MEASURING_SECONDS, MEASURING_SHARE * 60 * self.minutes)

    def left(self) -> float:
        """Return the seconds that are left; negative where the budget is spent."""
        return self.begun + 60 * self.minutes - self.clock()

    def plan_epochs(
        self, pace: Pace, *, steps: int, held_out: int, report: float
    ) -> tuple[int, float]:
        """Return how many epochs fit into the time that is left, and the seconds of one.

        There are never more than `MAX_EPOCHS`.

        Args:
            pace: Of this machine.
            steps: Training steps of an epoch.
            held_out: Faces that are measured after each epoch.
            report: Seconds for the report.

        Raises:
            RunError: Not even one fits.
        """
        epoch = steps * pace.step_seconds + held_out * pace.face_seconds + EPOCH_OVERHEAD_SECONDS
        left = self.left()
        epochs = int((PLANNED_SHARE * left - report) / epoch)
        if epochs < 1:
            needed = 60 * self.minutes - left + (report + epoch) / PLANNED_SHARE
            raise RunError(
                f"--max-minutes {self.minutes:g} is too short: reading the data, one epoch and "
                f"the report take about {math.ceil(needed / 6) / 10:g} minutes on this machine."
            )
        return min(epochs, MAX_EPOCHS), epoch


def estimate_report_seconds(pace: Pace, faces: int) -> float:
    """Return how long the report takes, with predictions for so many faces."""
    return REPORT_SECONDS + faces * pace.face_seconds
