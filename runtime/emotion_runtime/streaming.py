"""Predict a stream of pictures in batches over threads, in order and in constant memory.

Each worker is a thread that takes one batch from decoding to probabilities. Decoders and
onnxruntime release Python's interpreter lock while they compute, so that one worker's Python code
runs beside another's arithmetic, and nothing is copied between processes. The number of batches
in progress is limited: a million pictures need no more memory than a thousand.

Decoding a small picture is mostly Python code. Two threads that do it compete for the interpreter
lock and are no faster than one, so that only one batch of small pictures is decoded at a time,
while other workers run the network. Large pictures are decoded in parallel, because their
decoders release the lock.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.lazy_imports import IMPORT_LOCK
from emotion_runtime.model.session import check_count
from emotion_runtime.pictures.preprocessing import Picture
from emotion_runtime.prediction import Prediction

if TYPE_CHECKING:
    from concurrent.futures import Future

P = TypeVar("P", bound=Prediction)

# Returns the predictions of a batch, or gives up early once the event is set.
PredictBatch: TypeAlias = "Callable[[list[Picture], threading.Event], list[P]]"


def predict_stream(
    predict_batch: PredictBatch[P],
    pictures: Iterable[Picture],
    *,
    batch_size: int,
    workers: int | None = None,
) -> Iterator[P]:
    """Yield the predictions of a stream of pictures, in order and in constant memory.

    An unreadable picture gives a prediction with an error. If `pictures` raises, the predictions
    of the pictures before come first, then the exception.

    Args:
        predict_batch: Called by each worker, such as `make_picture_predictor` or `faces_within`
            returns it.
        pictures: Whatever `EmotionClassifier.read` takes; consumed lazily.
        batch_size: Largest number of pictures in a batch, at least 1. The first batches are
            smaller, so that the first predictions come at once.
        workers: Number of threads, at least 1; with one, everything runs in the calling thread.
            None for the number of CPUs that this process may use.

    Raises:
        ValueError: `batch_size` or `workers` is less than 1.
        TypeError: One of them is not an integer.
    """
    batches = _Batches(iter(pictures), check_count("batch_size", batch_size))
    # Checked here, before the first prediction is taken.
    count = count_usable_cpus() if workers is None else check_count("workers", workers)
    return _predict_batches(predict_batch, batches, count)


def _predict_batches(
    predict_batch: PredictBatch[P], batches: _Batches, workers: int
) -> Iterator[P]:
    # The first batch is one picture: for a single picture no thread is started.
    stop = threading.Event()
    for batch in batches if workers == 1 else islice(batches, 1):
        yield from predict_batch(batch, stop)
    if (second := next(batches, None)) is not None:
        yield from _predict_in_threads(predict_batch, chain([second], batches), workers, stop)
    if batches.failure is not None:
        raise batches.failure


def _predict_in_threads(
    predict_batch: PredictBatch[P],
    batches: Iterable[list[Picture]],
    workers: int,
    stop: threading.Event,
) -> Iterator[P]:
    with IMPORT_LOCK:
        from concurrent.futures import ThreadPoolExecutor

    process = os.getpid()
    pending: deque[Future[list[P]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="emotion")
    try:
        for batch in batches:
            pending.append(pool.submit(predict_batch, batch, stop))
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
        raise RuntimeError(
            "a stream of predictions cannot go on in a forked child; begin one there"
        )


class _Batches:
    """Splits a stream into batches of 1, 2, 4, … pictures up to `max_size`.

    Attributes:
        failure: The exception that the stream raised instead of its next picture; the batches end
            before it.
    """

    def __init__(self, pictures: Iterator[Picture], max_size: int) -> None:
        self.failure: Exception | None = None
        self._pictures, self._max_size, self._size = pictures, max_size, 1

    def __iter__(self) -> Iterator[list[Picture]]:
        return self

    def __next__(self) -> list[Picture]:
        batch: list[Picture] = []
        if self.failure is None:
            try:
                batch.extend(islice(self._pictures, self._size))
            except Exception as error:  # noqa: BLE001  raised again after the predictions
                self.failure = error
        if not batch:
            raise StopIteration
        self._size = min(2 * self._size, self._max_size)
        return batch
