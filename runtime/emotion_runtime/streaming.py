"""Map a function over a stream in batches over threads, in order and in constant memory.

Each worker is a thread that processes whole batches. Decoders and onnxruntime release Python's
interpreter lock while they compute, so that one worker's Python code runs beside another's
arithmetic, and nothing is copied between processes. The number of batches in progress is limited:
a million items need no more memory than a thousand.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from emotion_runtime.counts import MAX_THREADS, check_count
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.lazy_imports import IMPORT_LOCK

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")

# Returns the results of a batch, or gives up early once the event is set.
MapBatch: TypeAlias = "Callable[[list[T], threading.Event], list[R]]"


def map_batches(
    function: MapBatch[T, R],
    items: Iterable[T],
    *,
    batch_size: int,
    workers: int | None = None,
) -> Iterator[R]:
    """Yield the results of a function over batches of a stream, in order and in constant memory.

    If `items` raises, the results of the items before come first, then the exception.

    Args:
        function: Called by each worker with a list of items.
        items: Consumed lazily, a few batches ahead of the results.
        batch_size: Largest number of items in a batch, at least 1. The first batches are smaller,
            so that the first results come at once.
        workers: Number of threads, at least 1; with one, everything runs in the calling thread.
            None for the number of CPUs that this process may use.

    Raises:
        ValueError: `batch_size` or `workers` is less than 1, or `workers` more than
            `MAX_THREADS`.
        TypeError: One of them is not an integer.
    """
    batches = Batches(iter(items), check_count("batch_size", batch_size))
    # Checked here, before the first result is taken.
    count = count_usable_cpus() if workers is None else check_count("workers", workers, MAX_THREADS)
    return _flatten(map_in_threads(function, batches, count), batches)


def _flatten(results: Iterator[list[R]], batches: Batches[T]) -> Iterator[R]:
    for result in results:
        yield from result
    batches.raise_failure()


def map_in_threads(
    function: Callable[[list[T], threading.Event], R], batches: Iterator[list[T]], workers: int
) -> Iterator[R]:
    """Yield the result of each batch, in order and in constant memory.

    Args:
        function: Called by each worker with a batch.
        batches: Consumed lazily, a few batches ahead of the results.
        workers: Number of threads; with one, everything runs in the calling thread.
    """
    # For a single batch no thread is started.
    stop = threading.Event()
    for batch in batches if workers == 1 else islice(batches, 1):
        yield function(batch, stop)
    if (second := next(batches, None)) is not None:
        yield from _map_in_pool(function, chain([second], batches), workers, stop)


def _map_in_pool(
    function: Callable[[list[T], threading.Event], R],
    batches: Iterable[list[T]],
    workers: int,
    stop: threading.Event,
) -> Iterator[R]:
    with IMPORT_LOCK:
        from concurrent.futures import ThreadPoolExecutor

    process = os.getpid()
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="emotion")
    try:
        for batch in batches:
            pending.append(pool.submit(function, batch, stop))
            while pending and (len(pending) > 2 * workers or pending[0].done()):
                yield pending.popleft().result()
                check_process(process)
        while pending:
            yield pending.popleft().result()
            check_process(process)
    finally:  # also when the caller stops early, or on Ctrl-C
        stop.set()
        pool.shutdown(cancel_futures=True)


def check_process(process: int) -> None:
    """Refuse to go on in a forked child: the workers exist only in its parent."""
    if os.getpid() != process:
        raise RuntimeError("a stream cannot continue in a forked child; begin a new one there")


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

    def pack(self, item: T) -> Any:
        """Return an item as it is sent to a worker process, which calls the function with it.

        To be called once for each item, in the parent.
        """
        return item

    def take_counts(self) -> Any:
        """Return what was counted since the last call, to be sent to the parent."""

    def add_counts(self, counts: Any) -> None:
        """Add what `take_counts` returned in a worker."""


class Batches(Iterator[list[T]]):
    """Splits a stream into batches of 1, 2, 4, … items up to `max_size`.

    The batches end where the stream raises an exception, which `raise_failure` raises again.

    Args:
        items: The stream.
        max_size: Largest number of items in a batch.

    Attributes:
        max_size: As given.
    """

    def __init__(self, items: Iterator[T], max_size: int) -> None:
        self.max_size = max_size
        self._failure: Exception | None = None
        self._items, self._size = items, 1
        self._ahead: deque[T] = deque()

    def __next__(self) -> list[T]:
        self.look_ahead(self._size)
        count = min(self._size, len(self._ahead))
        if not count:
            raise StopIteration
        self._size = min(2 * self._size, self.max_size)
        return [self._ahead.popleft() for _ in range(count)]

    def look_ahead(self, count: int) -> int:
        """Read ahead until `count` items are known, and return how many are.

        These may be fewer, at the end of the stream, or more.
        """
        missing = count - len(self._ahead)
        if missing > 0 and self._failure is None:
            try:
                self._ahead.extend(islice(self._items, missing))
            except Exception as error:  # noqa: BLE001  raised again after the results
                self._failure = error
        return len(self._ahead)

    def raise_failure(self) -> None:
        """Raise the exception of the stream again, once all results before it have been used."""
        if self._failure is not None:
            raise self._failure
