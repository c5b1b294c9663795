"""The time limit of a run: how many epochs fit into the given minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from emotion_train.errors import RunError

MAX_EPOCHS = 200  # more gained nothing in the trials
PLANNED_SHARE = 0.95  # of the remaining time; the rest is a margin for slower machines
EPOCH_OVERHEAD_SECONDS = 0.1  # checkpoints and history.csv
REPORT_SECONDS = 4.0  # for the report without its predictions; mostly drawing
MEASURING_SHARE = 0.05  # of the time limit
MAX_MEASURING_SECONDS = 5.0
WARM_UP_STEPS = 3
MIN_MEASURED_STEPS, MAX_MEASURED_STEPS = 5, 200
MEASURED_FACES = 256


@dataclass(frozen=True)
class Pace:
    """The speed of this machine, measured on batches of the run.

    Attributes:
        step_seconds: Seconds per training step.
        face_seconds: Seconds per predicted face.
    """

    step_seconds: float
    face_seconds: float


@dataclass(frozen=True)
class TimeBudget:
    """The time limit of a run, from its start to its report.

    Attributes:
        minutes: The limit.
        clock: Returns seconds; only differences matter.
        started_at: The value of the clock at the start of the run.
    """

    minutes: float
    clock: Callable[[], float] = time.monotonic
    started_at: float = field(default_factory=time.monotonic)

    @property
    def measuring_seconds(self) -> float:
        """Return how long to measure the speed."""
        return min(MAX_MEASURING_SECONDS, MEASURING_SHARE * 60 * self.minutes)

    def count_seconds_left(self) -> float:
        """Return the remaining seconds; negative after the limit."""
        return self.started_at + 60 * self.minutes - self.clock()

    def plan_epochs(
        self, pace: Pace, *, steps: int, held_out: int, report: float
    ) -> tuple[int, float]:
        """Return how many epochs fit into the remaining time, at most `MAX_EPOCHS`.

        Args:
            pace: The speed of this machine.
            steps: Training steps per epoch.
            held_out: Faces to predict after each epoch.
            report: Seconds for the report.

        Returns:
            The number of epochs, and the seconds per epoch.

        Raises:
            RunError: Not even one epoch fits.
        """
        epoch = steps * pace.step_seconds + held_out * pace.face_seconds + EPOCH_OVERHEAD_SECONDS
        left = self.count_seconds_left()
        epochs = int(min((PLANNED_SHARE * left - report) / epoch, MAX_EPOCHS))
        if epochs < 1:
            needed = 60 * self.minutes - left + (report + epoch) / PLANNED_SHARE
            raise RunError(
                f"--max-minutes {self.minutes:g} is too short: reading the data, one epoch and "
                f"the report take about {math.ceil(needed / 6) / 10:g} minutes on this machine."
            )
        return epochs, epoch


def estimate_report_seconds(pace: Pace, faces: int) -> float:
    """Return the seconds that a report with predictions of so many faces takes."""
    return REPORT_SECONDS + faces * pace.face_seconds
