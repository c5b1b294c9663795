"""Worker processes that are replaced when they die.

They are started by `multiprocessing` ("spawn": onnxruntime's sessions do not survive a fork), each
with a pipe of its own. From `concurrent.futures` this differs in one respect, for which it is here:
when a worker dies, it is known which batch it had. The others go on, and that batch is tried again,
item by item.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context, process, resource_tracker, spawn
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from emotion_runtime.errors import WorkerError, format_reason
from emotion_runtime.lazy_imports import IMPORT_LOCK
from emotion_runtime.memory import find_available_memory, measure_peak_memory
from emotion_runtime.streaming import Batches, BatchFunction, check_process
from emotion_runtime.worker import END, run_worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

T = TypeVar("T")
R = TypeVar("R")

# Memory of one worker that classifies small pictures, in bytes; it holds numpy, Pillow,
# onnxruntime and the model.
WORKER_MEMORY_BYTES = 128 << 20

_CHUNK_SECONDS = 0.05  # of work that is sent to a worker at a time
_MAX_CHUNK_BATCHES = 16
_SLOW_SECONDS = 0.0125  # for a chunk to arrive from its source
_MAX_DEATHS = 2  # of workers that have only one item, until that item is given up
_MAX_FAILED_STARTS = 3  # in a row
_JOIN_SECONDS = 5.0
# Of a main module that ends by itself: as it should, with an exception, or refusing its arguments.
_ENDED_BY_ITSELF = (0, 1, 2)
_PICKLING_ERRORS = (pickle.PicklingError, TypeError, AttributeError, ValueError)


@dataclass(eq=False)
class _Chunk(Generic[T, R]):
    """Some batches that are sent to a worker together.

    Attributes:
        batches: The batches.
        results: Their results; those of a chunk that is tried alone, item by item.
        is_done: Whether all results are there.
        error: Raised by the function instead of a result.
        alone: The items that are still to be tried alone; None for a chunk that killed no worker.
        deaths: Number of workers that died while they tried the first of these items alone.
    """

    batches: list[list[T]]
    results: list[R] = field(default_factory=list)
    is_done: bool = False
    error: BaseException | None = None
    alone: deque[T] | None = None
    deaths: int = 0

    def list_missing(self) -> list[list[T]]:
        """Return the batches that have no result yet."""
        if self.is_done:
            return []
        return self.batches if self.alone is None else [[item] for item in self.alone]


@dataclass(eq=False)
class _Worker(Generic[T, R]):
    """A worker process.

    Attributes:
        process: The process.
        connection: The pipe to it.
        chunks: What it has been sent and has not finished, in order.
        is_ready: Whether it has loaded the function.
    """

    process: SpawnProcess
    connection: Connection[Any, Any]
    chunks: deque[_Chunk[T, R]] = field(default_factory=deque)
    is_ready: bool = False


class WorkerPool(Generic[T, R]):
    """A number of worker processes, which it replaces when they die.

    Args:
        function: Sent to each worker as a pickle.
        count: Number of workers.
        can_look_ahead: As in `processes.map_adaptively`.
        initialise: As in `processes.map_adaptively`.

    Attributes:
        count: As given.
        failed_in_main: Whether a worker ended by itself before it was ready, as one does that
            cannot import the main module, or that runs a frozen program instead of its work.
    """

    def __init__(
        self,
        function: BatchFunction[T, R],
        count: int,
        *,
        can_look_ahead: bool = False,
        initialise: Callable[[], None] | None = None,
    ) -> None:
        self.count, self._can_look_ahead = count, can_look_ahead
        self._function, self._initialise = function, initialise
        self._pickled = b""
        self._workers: list[_Worker[T, R]] = []
        self._chunks: deque[_Chunk[T, R]] = deque()  # in the order of their results
        self._again: deque[_Chunk[T, R]] = deque()  # of these, what a dead worker had
        self._seconds = 0.0  # of a worker for a batch; 0 where it is not known
        self._failed_starts = 0  # in a row
        self._owner = os.getpid()
        self._deaths: Counter[str] = Counter()  # of ready workers, by reason
        self._early_ends: Counter[str] = Counter()  # of workers that were not ready, by reason
        self.failed_in_main = False

    def __enter__(self) -> WorkerPool[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the workers, without waiting until they are ready.

        Raises:
            WorkerError: A process cannot be started, or the function cannot be pickled.
        """
        contents = self._initialise, self._function
        try:
            self._pickled = pickle.dumps(contents, pickle.HIGHEST_PROTOCOL)
        except _PICKLING_ERRORS as error:
            raise WorkerError(
                f"the classifier cannot be sent to worker processes ({format_reason(error)})"
            ) from error
        while len(self._workers) < self.count:
            self._start_worker()
        for worker in self._workers:
            self._send_function(worker)

    def _send_function(self, worker: _Worker[T, R]) -> None:
        """Send a new worker what to run, for which it must have started Python.

        In a step of its own, so that all of them start Python at the same time.
        """
        with contextlib.suppress(OSError):  # if it died, `_receive` finds out
            worker.connection.send_bytes(self._pickled)

    def _start_worker(self) -> _Worker[T, R]:
        if process.current_process().daemon:
            raise WorkerError("a daemonic process cannot start worker processes")
        if getattr(sys, "frozen", False) and _is_run_by_multiprocessing():
            # This process should be a worker, but runs the whole program: it would start further
            # ones without end.
            raise WorkerError("the program did not call multiprocessing.freeze_support() first")
        context = get_context("spawn")
        try:
            parent_end, worker_end = context.Pipe()
        except OSError as error:
            raise _make_start_error(error) from error
        # The kernel kills the worker when the thread that started it ends, not the process.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        worker = context.Process(
            target=run_worker,
            args=(worker_end, parent),
            name="emotion worker",
            daemon=True,
        )
        try:
            if os.name == "posix":
                resource_tracker.ensure_running()  # it changes the signal mask
            with _block_interrupts(), _leave_out_missing_main():
                worker.start()
        except OSError as error:
            parent_end.close()
            raise _make_start_error(error) from error
        finally:
            worker_end.close()
        self._workers.append(_Worker(worker, parent_end))
        return self._workers[-1]

    def is_ready(self) -> bool:
        """Return whether a worker can take work; does not wait.

        Raises:
            WorkerError: The workers end before they are ready.
        """
        self._receive(0)
        return any(worker.is_ready for worker in self._workers)

    def map(self, batches: Batches[T]) -> Iterator[R]:
        """Yield the result of each batch, in order.

        Raises:
            WorkerError: No worker can be started (again). What has no result yet is in
                `take_chunks`, and in `batches`.
            TypeError: An item cannot be pickled.
        """
        while True:
            is_complete = self._hand_out(batches)
            if not self._chunks:
                if any(worker.is_ready for worker in self._workers):
                    return  # there is no work left
                self._receive(None)
            elif self._chunks[0].is_done:
                chunk = self._chunks.popleft()
                yield from chunk.results
                check_process(self._owner)
                if chunk.error is not None:
                    raise chunk.error
            else:
                self._receive(None if is_complete else 0)

    def _hand_out(self, batches: Batches[T]) -> bool:
        """Send work to the workers that have little, as long as the results are not too far.

        Returns:
            False where the items arrive slowly: results are received before the next work is sent.
        """
        # Two chunks keep a worker busy while its result travels; long ones do not need that.
        depth = 2 if self._seconds < _CHUNK_SECONDS else 1
        for length in range(depth):
            for worker in list(self._workers):
                if worker.is_ready and len(worker.chunks) == length:
                    begun = time.monotonic()
                    chunk = self._again.popleft() if self._again else self._cut_chunk(batches)
                    if chunk is None:
                        return True
                    self._send(worker, chunk)
                    if time.monotonic() - begun > _SLOW_SECONDS:
                        return False
        return True

    def _cut_chunk(self, batches: Batches[T]) -> _Chunk[T, R] | None:
        if len(self._chunks) >= 4 * self.count:
            return None
        size = 1
        if self._seconds:
            size = max(1, min(_MAX_CHUNK_BATCHES, round(_CHUNK_SECONDS / self._seconds)))
        if size > 1 and self._can_look_ahead:  # near the end, smaller ones end at the same time
            share = 2 * self.count * batches.max_size
            size = max(1, min(size, batches.look_ahead(size * share) // share))
        taken: list[list[T]] = []
        begun = time.monotonic()
        # A source that is slow, such as a pipe, makes small chunks: results come early.
        while not taken or (len(taken) < size and time.monotonic() - begun < _SLOW_SECONDS):
            if (batch := next(batches, None)) is None:
                break
            taken.append([self._function.pack(item) for item in batch])
        if not taken:
            return None
        chunk: _Chunk[T, R] = _Chunk(taken)
        self._chunks.append(chunk)
        return chunk

    def _send(self, worker: _Worker[T, R], chunk: _Chunk[T, R]) -> None:
        task = (chunk.batches, False) if chunk.alone is None else ([list(chunk.alone)], True)
        try:
            data = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        except _PICKLING_ERRORS as error:
            chunk.error = TypeError(
                f"a picture cannot be sent to a worker process ({format_reason(error)}); give "
                f"paths, bytes, images or arrays"
            )
            chunk.error.__cause__, chunk.is_done = error, True
            return
        worker.chunks.append(chunk)
        with contextlib.suppress(OSError):  # if it died, `_receive` finds out
            worker.connection.send_bytes(data)

    def _receive(self, timeout: float | None) -> None:
        """Receive what has arrived; wait for it up to `timeout` seconds, None for any time."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, *values = pickle.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                self._replace(worker)
            else:
                getattr(self, f"_on_{kind}")(worker, *values)

    def _on_ready(self, worker: _Worker[T, R]) -> None:
        worker.is_ready, self._failed_starts = True, 0

    def _on_refused(self, worker: _Worker[T, R], reason: str) -> None:
        """Take note that a worker cannot load the function, which another could not either."""
        self._failed_starts = _MAX_FAILED_STARTS
        self._replace(worker, reason)

    def _on_results(
        self, worker: _Worker[T, R], results: list[R], counts: Any, seconds: float
    ) -> None:
        chunk = worker.chunks.popleft()
        chunk.results, chunk.is_done = results, True
        self._function.add_counts(counts)
        mean = seconds / len(chunk.batches)
        self._seconds = mean if not self._seconds else 0.8 * self._seconds + 0.2 * mean

    def _on_result(self, worker: _Worker[T, R], result: R, counts: Any) -> None:
        """Receive the result of one item that was tried alone."""
        chunk = worker.chunks[0]
        self._function.add_counts(counts)
        self._add_alone(chunk, result)
        if chunk.is_done:
            worker.chunks.popleft()

    def _on_error(self, worker: _Worker[T, R], error: BaseException, trace: str) -> None:
        chunk = worker.chunks.popleft()
        error.__cause__ = _TracebackError(trace)
        chunk.error, chunk.is_done = error, True

    def _add_alone(self, chunk: _Chunk[T, R], result: R) -> None:
        assert chunk.alone is not None
        chunk.results.append(result)
        chunk.alone.popleft()
        chunk.deaths, chunk.is_done = 0, not chunk.alone

    def _replace(self, worker: _Worker[T, R], reason: str | None = None) -> None:
        """Replace a dead worker, and pass its work on to the others.

        Raises:
            WorkerError: The workers end before they are ready.
        """
        self._workers.remove(worker)
        _end(worker, _JOIN_SECONDS if reason is None else 0.0)
        if reason is None:
            reason = _describe_end(worker.process.exitcode)
            if not worker.is_ready and worker.process.exitcode in _ENDED_BY_ITSELF:
                self.failed_in_main = True
        if worker.is_ready:
            self._deaths[reason] += 1
            self._suspect(worker, reason)
            self._again.extendleft(chunk for chunk in reversed(worker.chunks) if not chunk.is_done)
        else:
            self._early_ends[reason] += 1
            self._failed_starts += 1
        if worker.is_ready or self._failed_starts < _MAX_FAILED_STARTS:
            try:
                self._send_function(self._start_worker())
            except WorkerError:
                if not self._workers:
                    raise
                self._failed_starts = _MAX_FAILED_STARTS  # those that are left do the work
        if not self._workers:
            raise WorkerError(f"worker processes end before they are ready ({reason})")

    def _suspect(self, worker: _Worker[T, R], reason: str) -> None:
        """Make the chunk on which a worker died be tried again, item by item."""
        if not worker.chunks:
            return
        chunk = worker.chunks[0]
        if chunk.alone is None:
            chunk.alone = deque(item for batch in chunk.batches for item in batch)
            return
        chunk.deaths += 1
        # Twice, because something else may have killed the worker.
        if chunk.deaths >= _MAX_DEATHS:
            self._add_alone(chunk, self._function.describe_crash(chunk.alone[0], reason))

    def take_chunks(self) -> Iterator[_Chunk[T, R]]:
        """Yield the chunks that `map` has not yielded, in order."""
        while self._chunks:
            yield self._chunks.popleft()

    def notes(self) -> list[str]:
        """Return sentences about workers that died, and about those that are missing."""
        notes = []
        if self._deaths:
            is_one = self._deaths.total() == 1
            was, its = ("was", "its") if is_one else ("were", "their")
            notes.append(
                f"{_format_workers(self._deaths)} {was} replaced "
                f"({_format_reasons(self._deaths)}); {its} pictures were classified again, one by "
                f"one"
            )
        if self._early_ends and self._workers:
            is_one = self._early_ends.total() == 1
            notes.append(
                f"{_format_workers(self._early_ends)} ended before "
                f"{'it was' if is_one else 'they were'} ready ({_format_reasons(self._early_ends)})"
            )
        if self._workers and (left := len(self._workers)) < self.count:
            notes.append(f"{left} of {self.count} worker processes were left at the end")
        return notes

    def close(self) -> None:
        """Stop the workers: kill those that are busy, let the idle ones end in order."""
        workers, self._workers = self._workers, []
        if os.getpid() != self._owner:  # a forked child, whose parent still uses them
            return
        for worker in workers:
            if worker.is_ready and not worker.chunks:
                with contextlib.suppress(OSError):
                    worker.connection.send_bytes(END)
            else:
                worker.process.kill()
        for worker in workers:
            _end(worker, _JOIN_SECONDS)


def _end(worker: _Worker[Any, Any], seconds: float) -> None:
    """Wait up to `seconds` until a worker has ended, then kill it."""
    worker.connection.close()
    worker.process.join(seconds)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _is_run_by_multiprocessing() -> bool:
    """Return whether a frozen program was run in place of Python, to be a worker or the tracker."""
    return spawn.is_forking(sys.argv) or sys.argv[-1].startswith("from multiprocessing.")


def _make_start_error(error: OSError) -> WorkerError:
    reason = error.strerror or str(error)
    try:
        Path.cwd()
    except OSError:
        reason = "the current folder was deleted"
    return WorkerError(f"worker processes cannot be started ({reason})")


def _format_workers(reasons: Counter[str]) -> str:
    return f"{reasons.total():,} worker process{'' if reasons.total() == 1 else 'es'}"


def _format_reasons(reasons: Counter[str]) -> str:
    """Return the reasons for which processes ended, with their number if there are several."""
    if len(reasons) == 1:
        return next(iter(reasons))
    return ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())


def _describe_end(code: int | None) -> str:
    """Return what happened to a process with this exit code."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


class _TracebackError(Exception):
    """The traceback of an exception in a worker, as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@contextlib.contextmanager
def _leave_out_missing_main() -> Iterator[None]:
    """Let workers start without the main module if it has no file: it came from standard input."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if (
        file is None
        or getattr(main, "__spec__", None)
        or getattr(sys, "frozen", False)
        or Path(file).exists()
    ):
        yield
        return
    with IMPORT_LOCK:
        del main.__file__
        try:
            yield
        finally:
            main.__file__ = file


@contextlib.contextmanager
def _block_interrupts() -> Iterator[None]:
    """Make processes that are started in this block ignore Ctrl-C, which their parent handles."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def count_affordable_workers(wanted: int) -> int:
    """Return how many of the wanted worker processes fit into the memory that is left.

    A worker is expected to need as much as this process has used so far, at least
    `WORKER_MEMORY_BYTES`.
    """
    available = find_available_memory()
    if available is None:
        return wanted
    return min(wanted, available // max(WORKER_MEMORY_BYTES, measure_peak_memory()))
