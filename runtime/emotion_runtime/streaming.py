"""Map a function over a stream in batches over threads, in order and in constant memory.

Each worker is a thread that processes whole batches. Decoders and onnxruntime release Python's
interpreter lock while they compute, so that one worker's Python code runs beside another's
arithmetic, and nothing is copied between processes. The number of batches in progress is limited:
a million items need no more memory than a thousand.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from emotion_runtime.counts import check_count
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
        ValueError: `batch_size` or `workers` is less than 1.
        TypeError: One of them is not an integer.
    """
    batches = _Batches(iter(items), check_count("batch_size", batch_size))
    # Checked here, before the first result is taken.
    count = count_usable_cpus() if workers is None else check_count("workers", workers)
    return _map_batches(function, batches, count)


def _map_batches(function: MapBatch[T, R], batches: _Batches[T], workers: int) -> Iterator[R]:
    # The first batch is one item: for a single item no thread is started.
    stop = threading.Event()
    for batch in batches if workers == 1 else islice(batches, 1):
        yield from function(batch, stop)
    if (second := next(batches, None)) is not None:
        yield from _map_in_threads(function, chain([second], batches), workers, stop)
    if batches.failure is not None:
        raise batches.failure


def _map_in_threads(
    function: MapBatch[T, R], batches: Iterable[list[T]], workers: int, stop: threading.Event
) -> Iterator[R]:
    with IMPORT_LOCK:
        from concurrent.futures import ThreadPoolExecutor

    process = os.getpid()
    pending: deque[Future[list[R]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="emotion")
    try:
        for batch in batches:
            pending.append(pool.submit(function, batch, stop))
            while pending and (len(pending) > 2 * workers or pending[0].done()):
                yield from pending.popleft().result()
                _check_process(process)
        while pending:
            yield from pending.popleft().result()
            _check_process(process)
    finally:  # also when the caller stops early, or on Ctrl-C
        stop.set()
        pool.shutdown(cancel_futures=True)


def _check_process(process: int) -> None:
    """Refuse to go on in a forked child: the threads exist only in its parent."""
    if os.getpid() != process:
        raise RuntimeError("a stream cannot continue in a forked child; begin a new one there")


class _Batches(Iterator[list[T]]):
    """Splits a stream into batches of 1, 2, 4, … items up to `max_size`.

    Attributes:
        failure: The exception that the stream raised instead of its next item; the batches end
            before it.
    """

    def __init__(self, items: Iterator[T], max_size: int) -> None:
        self.failure: Exception | None = None
        self._items, self._max_size, self._size = items, max_size, 1

    def __next__(self) -> list[T]:
        batch: list[T] = []
        if self.failure is None:
            try:
                batch.extend(islice(self._items, self._size))
            except Exception as error:  # noqa: BLE001  raised again after the results
                self.failure = error
        if not batch:
            raise StopIteration
        self._size = min(2 * self._size, self._max_size)
        return batch
