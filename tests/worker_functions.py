"""Functions for worker processes, in a module that these can import, without numpy."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from emotion_runtime.streaming import BatchFunction

KILLER = -1  # ends the worker that gets it
FAULT = -2  # raises an exception


class Double(BatchFunction[int, list[object]]):
    """Doubles numbers; in a worker, one of them kills and one raises."""

    def __init__(self, seconds: float = 0.0, refuse: bool = False) -> None:
        self.parent, self.seconds, self.counted = os.getpid(), seconds, 0
        self.refuse = refuse

    def __setstate__(self, state: dict[str, object]) -> None:
        if state["refuse"]:
            raise ValueError("this function stays at home")
        vars(self).update(state)

    def __call__(self, batch: list[int], stop: threading.Event) -> list[object]:
        if KILLER in batch and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        if FAULT in batch:
            raise LookupError("a fault")
        time.sleep(self.seconds)
        self.counted += len(batch)
        return [2 * number for number in batch]

    def describe_crash(self, item: int, reason: str) -> list[object]:
        return [f"{item}: {reason}"]

    def take_counts(self) -> int:
        counted, self.counted = self.counted, 0
        return counted

    def add_counts(self, counts: int) -> None:
        self.counted += counts


def start_early() -> None:
    """Make the next adaptive run start its workers after the first batch and wait for them."""
    from emotion_runtime import processes
    from emotion_runtime.worker_pool import WorkerPool

    for name in ("_MIN_MEASURED_SECONDS", "_MIN_ELAPSED_SECONDS"):
        setattr(processes, name, 0.0)
    WorkerPool.is_ready = wait_until_ready  # type: ignore[method-assign]


def wait_until_ready(pool: Any) -> bool:
    while not any(worker.is_ready for worker in pool._workers):
        pool._receive(None)
    return True


class Middle:
    """A detector that finds one face, in the middle of each picture."""

    def detect(self, image: Any) -> list[Any]:
        """Return the face."""
        from emotion_runtime.faces.detection import Box, Detection

        height, width = image.shape[:2]
        return [Detection(Box(width / 4, height / 4, width / 2, height / 2), 0.99)]
