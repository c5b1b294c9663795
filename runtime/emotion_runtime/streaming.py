"""Many pictures, one network: read, batch, infer, and give the answers in the order asked.

Each worker is a thread that takes a whole batch from reading to probabilities. Decoders and
onnxruntime let go of Python's interpreter lock while they work, so one worker's Python runs
beside another's arithmetic, and nothing is copied between processes. What is ahead is bounded: a
million pictures take no more memory than a thousand.

Reading a small picture is mostly Python. Two threads at it hand the interpreter lock to and fro,
and take as long as one; so one batch's small pictures are read at a time, while other workers run
the network. Large ones keep the decoder busy outside of the lock, and are read side by side.
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

# Answers a batch; what is left of it is given up once the event is set.
PredictBatch: TypeAlias = "Callable[[list[Picture], threading.Event], list[P]]"


def predict_stream(
    answer: PredictBatch[P],
    pictures: Iterable[Picture],
    *,
    batch_size: int,
    workers: int | None = None,
) -> Iterator[P]:
    """Classify pictures in constant memory; a bad picture is an answer too.

    Where `pictures` raises, the answers to those before come first, then its error.

    Args:
        answer: Called from each worker, such as `whole_pictures` or `faces_within` makes it.
        pictures: Whatever `EmotionClassifier.read` takes; taken from as they are needed.
        batch_size: Most pictures of a batch, at least 1. The first ones are small, so that the
            first answers come at once.
        workers: Threads that read and infer, at least 1; with one, all happens in the calling
            thread. None for the CPUs that this process may use.

    Raises:
        ValueError: `batch_size` or `workers` is less than 1.
        TypeError: One of them is no integer.
    """
    batches = _Batches(iter(pictures), check_count("batch_size", batch_size))
    # Checked here, not at the first answer.
    count = count_usable_cpus() if workers is None else check_count("workers", workers)
    return _predict_batches(answer, batches, count)


def _predict_batches(answer: PredictBatch[P], batches: _Batches, workers: int) -> Iterator[P]:
    # The first batch is one picture: no thread is started for it, nor for a run of one.
    stop = threading.Event()
    for batch in batches if workers == 1 else islice(batches, 1):
        yield from answer(batch, stop)
    if (second := next(batches, None)) is not None:
        yield from _predict_in_threads(answer, chain([second], batches), workers, stop)
    if batches.failure is not None:
        raise batches.failure


def _predict_in_threads(
    answer: PredictBatch[P], batches: Iterable[list[Picture]], workers: int, stop: threading.Event
) -> Iterator[P]:
    with IMPORT_LOCK:
        from concurrent.futures import ThreadPoolExecutor

    process = os.getpid()
    ahead: deque[Future[list[P]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="emotion")
    try:
        for batch in batches:
            ahead.append(pool.submit(answer, batch, stop))
            while ahead and (len(ahead) > 2 * workers or ahead[0].done()):
                yield from ahead.popleft().result()
                _check_process(process)
        while ahead:
            yield from ahead.popleft().result()
            _check_process(process)
    finally:  # also where the caller has seen enough, or Ctrl-C came
        stop.set()
        pool.shutdown(cancel_futures=True)


def _check_process(process: int) -> None:
    """Refuse to wait for threads that stayed behind in the parent of a forked child."""
    if os.getpid() != process:
        raise RuntimeError(
            "a stream of predictions cannot go on in a forked child; begin one there"
        )


class _Batches:
    """Cuts a stream into batches of 1, 2, 4, … pictures up to `batch_size`.

    Attributes:
        failure: What the stream raised instead of its next picture; the batches end before it.
    """

    def __init__(self, pictures: Iterator[Picture], batch_size: int) -> None:
        self.failure: Exception | None = None
        self._pictures, self._most, self._size = pictures, batch_size, 1

    def __iter__(self) -> Iterator[list[Picture]]:
        return self

    def __next__(self) -> list[Picture]:
        batch: list[Picture] = []
        if self.failure is None:
            try:
                batch.extend(islice(self._pictures, self._size))
            except Exception as error:  # noqa: BLE001  raised again behind the answers
                self.failure = error
        if not batch:
            raise StopIteration
        self._size = min(2 * self._size, self._most)
        return batch
