"""Map a function over a stream in worker processes, in order and in constant memory.

Decoding small pictures and writing their results is Python code, of which the interpreter lock lets
one thread run at a time. Worker processes share no lock. They are started by `multiprocessing`
("spawn": onnxruntime's sessions do not survive a fork), each with a pipe of its own. From
`concurrent.futures` this differs in one respect, for which it is here: when a worker dies, it is
known which batch it had. The others go on, and that batch is tried again, item by item.

Workers end with their parent, also when that is killed: their pipe closes, and on Linux the kernel
kills them (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from emotion_runtime.counts import check_count
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.errors import WorkerError, format_reason
from emotion_runtime.lazy_imports import IMPORT_LOCK
from emotion_runtime.memory import find_available_memory, measure_peak_memory
from emotion_runtime.streaming import Batches, check_process, map_batches, map_in_threads

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

T = TypeVar("T")
R = TypeVar("R")

# Memory of one worker that classifies small pictures, in bytes; it holds numpy, Pillow,
# onnxruntime and the model.
WORKER_MEMORY_BYTES = 128 << 20

# Starting the workers takes about a quarter of a second of each core. It pays off if the threads
# would need this long for the pictures that are known to be left …
_MIN_REMAINING_SECONDS = 0.6
_MAX_LOOK_AHEAD = 16_384  # items
# … or, where that is not known, if the run has lasted this long and goes on.
_MIN_ELAPSED_SECONDS = 0.6
_MIN_MEASURED_SECONDS = 0.02  # of a run, before its speed is judged

_CHUNK_SECONDS = 0.05  # of work that is sent to a worker at a time
_MAX_CHUNK_BATCHES = 16
_MAX_DEATHS = 2  # of workers that have only one item, until that item is given up
_MAX_FAILED_STARTS = 3  # in a row
_JOIN_SECONDS = 5.0
_PICKLING_ERRORS = (pickle.PicklingError, TypeError, AttributeError, ValueError)
_END = b""  # sent to a worker in place of a task


class BatchFunction(ABC, Generic[T, R]):
    """Processes batches, here or, pickled, in worker processes."""

    @abstractmethod
    def __call__(self, batch: list[T], stop: threading.Event) -> R:
        """Return the result of a batch, or give up early once the event is set."""

    @abstractmethod
    def describe_crash(self, item: T, reason: str) -> R:
        """Return the result of an item that ends the process which works on it.

        Args:
            item: The item.
            reason: What happened to the process, such as ``killed by SIGSEGV``.
        """

    def take_counts(self) -> Any:
        """Return what was counted since the last call, to be sent to the parent."""

    def add_counts(self, counts: Any) -> None:
        """Add what `take_counts` returned in a worker."""


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
        ValueError: `batch_size` or `workers` is less than 1.
        TypeError: One of them is not an integer.
    """
    batches = Batches(iter(items), check_count("batch_size", batch_size))
    count = count_usable_cpus() if workers is None else check_count("workers", workers)
    # In a frozen program (PyInstaller) `sys.executable` is that program, not Python.
    is_frozen = bool(getattr(sys, "frozen", False))
    can_start = can_start and count > 1 and has_interpreter_lock() and not is_frozen
    pool = WorkerPool(function, count, can_look_ahead=can_look_ahead, initialise=initialise)
    switch = _Switch(pool, batches, notes) if can_start else None
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
        ValueError: `batch_size` or `processes` is less than 1.
        TypeError: One of them is not an integer; or, during the iteration, an item cannot be
            pickled.
        WorkerError: The workers cannot be started; raised during the iteration.
    """
    batches = Batches(iter(items), check_count("batch_size", batch_size))
    pool = WorkerPool(function, check_count("processes", processes))
    return _map_in_processes(pool, batches)


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
        ValueError: A number is less than 1, or both `workers` and `processes` are given.
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


def _map_in_processes(pool: WorkerPool[T, R], batches: Batches[T]) -> Iterator[R]:
    if batches.look_ahead(1):
        with pool:
            try:
                pool.start()
                yield from pool.map(batches)
            except WorkerError as error:
                raise WorkerError(
                    f"{error}. In a script, the call must be in a block "
                    f"\"if __name__ == '__main__':\", because each worker imports the script."
                ) from error
    batches.raise_failure()


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
    pool = switch.pool
    try:
        for result in map_in_threads(function, switch, workers):
            switch.count_result()
            yield result
        if switch.is_over:
            try:
                yield from pool.map(batches)
            except WorkerError as error:
                notes.append(f"{error}; the rest was classified by threads")
                for chunk in pool.take_chunks():
                    yield from chunk.results
                    for batch in chunk.list_missing():
                        yield function(batch, threading.Event())
                yield from map_in_threads(function, batches, workers)
            notes += pool.notes()
    finally:
        pool.close()
    batches.raise_failure()


class _Switch(Iterator[list[T]], Generic[T, R]):
    """Passes batches on to the threads, until worker processes are ready to take them.

    Args:
        pool: The workers, which are started here if that is worth it.
        batches: The batches.
        notes: Receives a sentence where workers were not started.

    Attributes:
        pool: As given.
        is_over: Whether the workers are ready, so that no further batch is passed on.
    """

    def __init__(self, pool: WorkerPool[T, R], batches: Batches[T], notes: list[str]) -> None:
        self.pool, self.is_over = pool, False
        self._batches, self._notes = batches, notes
        self._can_start, self._can_look_ahead = True, pool.can_look_ahead
        self._sizes: deque[int] = deque()  # of the batches without a result yet
        self._begun, self._done = 0.0, 0

    def __next__(self) -> list[T]:
        if self._can_start and self._is_worthwhile():
            self._can_start = False  # a second try would fail too
            self._report_errors(self._start)
        elif self.pool.is_started and self._report_errors(self.pool.is_ready):
            self.is_over = True
            raise StopIteration
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

    def _is_worthwhile(self) -> bool:
        if not self._begun or not self._done:
            return False
        elapsed = time.monotonic() - self._begun
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
        wanted = self.pool.count
        count = count_affordable_workers(wanted)
        if count < wanted:
            enough = "" if count > 1 else ", so that threads did the work"
            self._notes.append(f"memory is left for {count} of {wanted} worker processes{enough}")
        if count > 1:
            self.pool.count = count
            self.pool.start()

    def _report_errors(self, action: Callable[[], bool | None]) -> bool:
        """Return the result of `action`; go on with threads alone where it fails."""
        try:
            return bool(action())
        except WorkerError as error:
            self._notes.append(f"{error}; threads did the work")
            self.pool.close()
            return False


def count_affordable_workers(wanted: int) -> int:
    """Return how many of the wanted worker processes fit into the memory that is left.

    A worker is expected to need as much as this process has used so far, at least
    `WORKER_MEMORY_BYTES`.
    """
    available = find_available_memory()
    if available is None:
        return wanted
    return min(wanted, available // max(WORKER_MEMORY_BYTES, measure_peak_memory()))


def has_interpreter_lock() -> bool:
    """Return whether this Python runs one thread at a time: it is not a free-threaded one."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)  # Python 3.13 has it
    return is_enabled is None or bool(is_enabled())


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
        can_look_ahead: As in `map_adaptively`.
        initialise: As in `map_adaptively`.

    Attributes:
        count: As given; it may be changed before the workers are started.
        can_look_ahead: As given.
    """

    def __init__(
        self,
        function: BatchFunction[T, R],
        count: int,
        *,
        can_look_ahead: bool = False,
        initialise: Callable[[], None] | None = None,
    ) -> None:
        self.count, self.can_look_ahead = count, can_look_ahead
        self._function, self._initialise = function, initialise
        self._pickled = b""
        self._workers: list[_Worker[T, R]] = []
        self._chunks: deque[_Chunk[T, R]] = deque()  # in the order of their results
        self._again: deque[_Chunk[T, R]] = deque()  # of these, what a dead worker had
        self._seconds = 0.0  # of a worker for a batch; 0 where it is not known
        self._failed_starts = 0
        self._owner = os.getpid()
        self._deaths: Counter[str] = Counter()

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

    @property
    def is_started(self) -> bool:
        """Return whether there are workers, ready or not."""
        return bool(self._workers)

    def _start_worker(self) -> None:
        with IMPORT_LOCK:
            from multiprocessing import get_context, process, resource_tracker

        if process.current_process().daemon:
            raise WorkerError("a daemonic process cannot start worker processes")
        context = get_context("spawn")
        parent_end, worker_end = context.Pipe()
        # The kernel kills the worker when the thread that started it ends, not the process.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        worker = context.Process(
            target=_run_worker,
            args=(worker_end, self._pickled, parent),
            name="emotion worker",
            daemon=True,
        )
        try:
            if os.name == "posix":
                resource_tracker.ensure_running()  # it changes the signal mask
            with _block_interrupts():
                worker.start()
        except OSError as error:
            parent_end.close()
            raise WorkerError(
                f"worker processes cannot be started ({error.strerror or error})"
            ) from error
        finally:
            worker_end.close()
        self._workers.append(_Worker(worker, parent_end))

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
            self._hand_out(batches)
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
                self._receive(None)

    def _hand_out(self, batches: Batches[T]) -> None:
        """Send work to the workers that have little, as long as the results are not too far."""
        # Two chunks keep a worker busy while its result travels; long ones do not need that.
        depth = 2 if self._seconds < _CHUNK_SECONDS else 1
        for length in range(depth):
            for worker in list(self._workers):
                if worker.is_ready and len(worker.chunks) == length:
                    chunk = self._again.popleft() if self._again else self._cut_chunk(batches)
                    if chunk is None:
                        return
                    self._send(worker, chunk)

    def _cut_chunk(self, batches: Batches[T]) -> _Chunk[T, R] | None:
        if len(self._chunks) >= 4 * self.count:
            return None
        size = 1
        if self._seconds:
            size = max(1, min(_MAX_CHUNK_BATCHES, round(_CHUNK_SECONDS / self._seconds)))
        if size > 1 and self.can_look_ahead:  # near the end, smaller ones end at the same time
            share = 2 * self.count * batches.max_size
            size = max(1, min(size, batches.look_ahead(size * share) // share))
        taken: list[list[T]] = []
        begun = time.monotonic()
        # A source that is slow, such as a pipe, makes small chunks: results come early.
        while len(taken) < size and time.monotonic() - begun < _CHUNK_SECONDS / 4:
            if (batch := next(batches, None)) is None:
                break
            taken.append(batch)
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
            raise TypeError(
                f"a picture cannot be sent to a worker process ({format_reason(error)}); give "
                f"paths, bytes, images or arrays"
            ) from error
        worker.chunks.append(chunk)
        with contextlib.suppress(OSError):  # if it died, `_receive` finds out
            worker.connection.send_bytes(data)

    def _receive(self, timeout: float | None) -> None:
        """Receive what has arrived; wait for it up to `timeout` seconds, None for any time."""
        from multiprocessing.connection import wait

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
        reason = reason or _describe_end(worker.process.exitcode)
        if worker.is_ready:
            self._deaths[reason] += 1
            self._suspect(worker, reason)
            self._again.extendleft(chunk for chunk in reversed(worker.chunks) if not chunk.is_done)
        else:
            self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            if any(worker.is_ready for worker in self._workers):
                return  # those that are left do the work
            raise WorkerError(f"worker processes end before they are ready ({reason})")
        self._start_worker()

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
        """Return sentences about workers that died."""
        if not self._deaths:
            return []
        count = self._deaths.total()
        reasons = ", ".join(
            reason if number == count else f"{number} {reason}"
            for reason, number in self._deaths.most_common()
        )
        noun, was, its = ("process", "was", "its") if count == 1 else ("processes", "were", "their")
        return [
            f"{count} worker {noun} {was} replaced ({reasons}); {its} pictures were classified "
            f"again, one by one"
        ]

    def close(self) -> None:
        """Stop the workers: kill those that are busy, let the idle ones end in order."""
        workers, self._workers = self._workers, []
        if os.getpid() != self._owner:  # a forked child, whose parent still uses them
            return
        for worker in workers:
            if worker.is_ready and not worker.chunks:
                with contextlib.suppress(OSError):
                    worker.connection.send_bytes(_END)
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


def _run_worker(connection: Connection[Any, Any], pickled: bytes, parent: int) -> None:
    """Work on what the parent sends, until it sends `_END` or ends.

    Args:
        connection: The pipe to the parent.
        pickled: What to call first, or None, and the function.
        parent: Id of the parent, with which the kernel kills this process; 0 for not.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent(parent)
    # numpy's libraries would start a thread for each core, in each worker.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    tasks = _receive_tasks(connection)
    try:
        initialise, function = pickle.loads(pickled)
        if initialise is not None:
            initialise()
        function.take_counts()  # those of the parent, which were pickled too
        import gc

        gc.freeze()  # what was imported stays
    except Exception as error:  # noqa: BLE001  whatever the pickle raises
        connection.send_bytes(pickle.dumps(("refused", format_reason(error))))
        return
    connection.send_bytes(pickle.dumps(("ready",)))
    stop = threading.Event()
    while task := tasks():
        try:
            batches, alone = pickle.loads(task)
            if alone:
                for item in batches[0]:
                    _send(connection, "result", function([item], stop), function.take_counts())
            else:
                begun = time.perf_counter()
                results = [function(batch, stop) for batch in batches]
                seconds = time.perf_counter() - begun
                _send(connection, "results", results, function.take_counts(), seconds)
        except Exception as error:  # noqa: BLE001  raised again in the parent
            _send_error(connection, error)


def _send(connection: Connection[Any, Any], *message: object) -> None:
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _send_error(connection: Connection[Any, Any], error: Exception) -> None:
    import traceback

    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  an exception that cannot be pickled
        error = RuntimeError(format_reason(error))
    _send(connection, "error", error, trace)


def _receive_tasks(connection: Connection[Any, Any]) -> Callable[[], bytes]:
    """Return a function that waits for the next task, and returns its pickle or `_END`.

    A thread reads the pipe. It never makes the parent wait, and it ends the process with the
    parent, whatever that process is doing.
    """
    from queue import SimpleQueue

    tasks: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        try:
            while True:
                tasks.put(task := connection.recv_bytes())
                if task == _END:
                    return
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=read, name="tasks", daemon=True).start()
    return tasks.get


def _die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent ends; on Linux, if `parent` is not 0."""
    if not parent or sys.platform != "linux":
        return
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, of <linux/prctl.h>
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    # Where memory runs out, the kernel should end a worker, which is replaced, not its parent.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    if os.getppid() != parent:
        os._exit(1)
