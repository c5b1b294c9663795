"""Map a function over a stream in threads or worker processes, as far as each is worth it.

Decoding small pictures and formatting their results is Python code, of which the interpreter lock
lets one thread run at a time. Worker processes share no lock, but take a quarter of a second to
start. `worker_pool` has the processes themselves, and is imported when they are started.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from emotion_runtime.counts import MAX_THREADS, check_count
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.errors import WorkerError
from emotion_runtime.lazy_imports import IMPORT_LOCK
from emotion_runtime.streaming import Batches, BatchFunction, map_batches, map_in_threads

if TYPE_CHECKING:
    from emotion_runtime.worker_pool import WorkerPool

T = TypeVar("T")
R = TypeVar("R")

# Starting the workers takes about a quarter of a second of each core, and threads reach two thirds
# of their speed or more. Workers pay off if the threads would need this long for the pictures that
# are known to be left …
_MIN_REMAINING_SECONDS = 1.2
_MAX_LOOK_AHEAD = 16_384  # items
# … or, where that is not known, if the run has lasted this long and goes on.
_MIN_ELAPSED_SECONDS = 1.0
_MIN_MEASURED_SECONDS = 0.06  # of a run, before its speed is judged: the first batches are slow


def map_adaptively(
    function: BatchFunction[T, R],
    items: Iterable[T],
    *,
    batch_size: int,
    workers: int | None = None,
    can_look_ahead: bool = True,
    can_start: bool = True,
    initialise: Callable[[], None] | None = None,
    notes: list[str],
) -> Iterator[R]:
    """Yield the result of each batch: from threads, and in a long run from worker processes.

    Workers are started while the threads work, if the first batches show that this is worth it. In
    a free-threaded Python, where threads have no common lock, they never are. If workers cannot be
    started, the threads go on.

    Args:
        function: Called with each batch.
        items: Consumed lazily, some batches ahead of the results; if the iterator raises, the
            results of the items before come first.
        batch_size: Largest number of items in a batch, at least 1.
        workers: Number of threads, or of worker processes; None for the number of CPUs that this
            process may use.
        can_look_ahead: Whether the next thousands of items are there at once, as those of a folder
            are; False for items that arrive over time.
        can_start: Whether worker processes may be started.
        initialise: Called in each worker first; must be picklable.
        notes: Receives sentences about workers that were not started, or that ended.

    Raises:
        ValueError: `batch_size` or `workers` is less than 1, or `workers` more than
            `MAX_THREADS`.
        TypeError: One of them is not an integer.
    """
    batches = Batches(iter(items), check_count("batch_size", batch_size))
    count = count_usable_cpus() if workers is None else check_count("workers", workers, MAX_THREADS)
    # In a frozen program (PyInstaller) `sys.executable` is that program, not Python.
    is_frozen = bool(getattr(sys, "frozen", False))
    can_start = can_start and count > 1 and has_interpreter_lock() and not is_frozen

    def make_pool(count: int) -> WorkerPool[T, R]:
        from emotion_runtime.worker_pool import WorkerPool

        return WorkerPool(function, count, can_look_ahead=can_look_ahead, initialise=initialise)

    switch = None
    if can_start:
        switch = _Switch(make_pool, count, batches, notes, can_look_ahead=can_look_ahead)
    return _map_adaptively(function, batches, count, switch, notes)


def map_in_processes(
    function: BatchFunction[T, R], items: Iterable[T], *, batch_size: int, processes: int
) -> Iterator[R]:
    """Yield the result of each batch, all of them from worker processes.

    Args:
        function: Called with each batch; must be picklable, as `items` and results must be.
        items: As in `map_adaptively`.
        batch_size: As in `map_adaptively`.
        processes: Number of worker processes, at least 1.

    Raises:
        ValueError: `batch_size` or `processes` is less than 1, or `processes` more than
            `MAX_THREADS`.
        TypeError: One of them is not an integer; or, during the iteration, an item cannot be
            pickled.
        WorkerError: The workers cannot be started; raised during the iteration.
    """
    batches = Batches(iter(items), check_count("batch_size", batch_size))
    count = check_count("processes", processes, MAX_THREADS)
    # Not more processes than items, where their number is known: of a list, for example.
    count = min(count, max(1, operator.length_hint(items, count)))
    return _map_in_processes(function, batches, count)


def predict_in_batches(
    function: BatchFunction[T, list[R]],
    items: Iterable[T],
    *,
    batch_size: int,
    workers: int | None,
    processes: int | None,
) -> Iterator[R]:
    """Yield the results of all items, from threads or, where `processes` is given, from processes.

    Raises:
        ValueError: A number is out of range, or both `workers` and `processes` are given.
        TypeError: A number is not an integer.
        WorkerError: As in `map_in_processes`.
    """
    if processes is None:
        return map_batches(function, items, batch_size=batch_size, workers=workers)
    if workers is not None:
        raise ValueError("give workers (threads) or processes, not both")
    results = map_in_processes(function, items, batch_size=batch_size, processes=processes)
    return flatten(results)


def flatten(results: Iterator[list[R]]) -> Iterator[R]:
    """Yield the members of each list; closing this iterator closes `results` at once."""
    with contextlib.closing(results):  # type: ignore[type-var]
        for result in results:
            yield from result


def describe_crash(path: str | None, reason: str) -> str:
    """Return the error of a picture that ends the process which reads it.

    Args:
        path: Path of the picture; None for pictures without a path.
        reason: As in `BatchFunction.describe_crash`.
    """
    return f"{path or 'the picture'}: cannot be read (it ended a worker process: {reason})."


def _map_in_processes(
    function: BatchFunction[T, R], batches: Batches[T], count: int
) -> Iterator[R]:
    if batches.look_ahead(1):
        with IMPORT_LOCK:
            from emotion_runtime.worker_pool import WorkerPool
        with WorkerPool(function, count) as pool:
            try:
                pool.start()
                yield from pool.map(batches)
            except WorkerError as error:
                raise WorkerError(f"{error}.{_describe_main(pool)}") from error
    batches.raise_failure()


def _describe_main(pool: WorkerPool[Any, Any]) -> str:
    """Return what to change in the main module of a program whose workers cannot import it."""
    if not pool.failed_in_main:
        return ""
    if getattr(sys, "frozen", False):
        return " A frozen program must begin with multiprocessing.freeze_support()."
    return (
        " In a script, the call must be in a block \"if __name__ == '__main__':\", because each "
        "worker imports the script."
    )


def _map_adaptively(
    function: BatchFunction[T, R],
    batches: Batches[T],
    workers: int,
    switch: _Switch[T, R] | None,
    notes: list[str],
) -> Iterator[R]:
    if switch is None:
        yield from map_in_threads(function, batches, workers)
        batches.raise_failure()
        return
    try:
        for result in map_in_threads(function, switch, workers):
            switch.count_result()
            with switch.pause():  # the reader of the results may be slow
                yield result
        if switch.is_over and (pool := switch.pool) is not None:
            try:
                yield from pool.map(batches)
            except WorkerError as error:
                notes.append(f"{error}; the rest was classified by threads")
                for chunk in pool.take_chunks():
                    yield from chunk.results
                    if chunk.error is not None:
                        raise chunk.error from None
                    for batch in chunk.list_missing():
                        yield function(batch, threading.Event())
                yield from map_in_threads(function, batches, workers)
            notes += pool.notes()
    finally:
        if switch.pool is not None:
            switch.pool.close()
    batches.raise_failure()


class _Switch(Iterator[list[T]], Generic[T, R]):
    """Passes batches on to the threads, until worker processes are ready to take them.

    Args:
        make_pool: Returns a number of workers, which are started here if that is worth it.
        count: Number of workers.
        batches: The batches.
        notes: Receives a sentence where workers were not started.
        can_look_ahead: As in `map_adaptively`.

    Attributes:
        pool: The workers, once they have been started.
        is_over: Whether the workers are ready, so that no further batch is passed on.
    """

    def __init__(
        self,
        make_pool: Callable[[int], WorkerPool[T, R]],
        count: int,
        batches: Batches[T],
        notes: list[str],
        *,
        can_look_ahead: bool,
    ) -> None:
        self.pool: WorkerPool[T, R] | None = None
        self.is_over = False
        self._make_pool, self._count = make_pool, count
        self._batches, self._notes = batches, notes
        self._can_start, self._can_look_ahead = True, can_look_ahead
        self._sizes: deque[int] = deque()  # of the batches without a result yet
        self._begun, self._done = 0.0, 0
        self._paused = 0.0  # seconds in which others made this process wait

    def __next__(self) -> list[T]:
        if self._can_start and self._is_worthwhile():
            self._can_start = False  # a second try would fail too
            self._report_errors(self._start)
        elif self.pool is not None and self._report_errors(self.pool.is_ready):
            self.is_over = True
            raise StopIteration
        with self.pause():  # the source of the items may be slow
            batch = next(self._batches)
        self._sizes.append(len(batch))
        return batch

    def count_result(self) -> None:
        """Take note that a batch is done."""
        size = self._sizes.popleft()
        if self._begun:
            self._done += size
        else:  # the first batch, which includes imports at first use
            self._begun = time.monotonic()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the time of a block out of the time that the work takes."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            if self._begun:
                self._paused += time.perf_counter() - begun

    def _is_worthwhile(self) -> bool:
        if not self._begun or not self._done:
            return False
        elapsed = time.monotonic() - self._begun - self._paused
        if elapsed < _MIN_MEASURED_SECONDS:
            return False
        if elapsed >= _MIN_ELAPSED_SECONDS:
            return True
        if not self._can_look_ahead:
            return False
        seconds = elapsed / self._done
        needed = min(_MAX_LOOK_AHEAD, int(_MIN_REMAINING_SECONDS / seconds))
        self._can_look_ahead = False  # once: it is as good a guess as later ones
        return self._batches.look_ahead(needed) >= needed

    def _start(self) -> None:
        with IMPORT_LOCK:
            from emotion_runtime.worker_pool import count_affordable_workers
        count = count_affordable_workers(self._count)
        if count < self._count:
            enough = "" if count > 1 else ", so that threads did the work"
            self._notes.append(
                f"memory is left for {count} of {self._count} worker processes{enough}"
            )
        if count > 1:
            self.pool = self._make_pool(count)
            self.pool.start()

    def _report_errors(self, action: Callable[[], bool | None]) -> bool:
        """Return the result of `action`; go on with threads alone where it fails."""
        try:
            return bool(action())
        except WorkerError as error:
            self._notes.append(f"{error}; threads did the work")
            if self.pool is not None:
                self.pool.close()
                self.pool = None
            return False


def has_interpreter_lock() -> bool:
    """Return whether this Python runs one thread at a time: it is not a free-threaded one."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)  # Python 3.13 has it
    return is_enabled is None or bool(is_enabled())
