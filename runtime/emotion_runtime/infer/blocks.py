"""The results of a batch of pictures, ready to be written: made by threads or worker processes."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from emotion_runtime.prediction import Prediction
from emotion_runtime.results.writers import WRITERS
from emotion_runtime.streaming import BatchFunction

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.faces.classifier import FaceClassifier


class Block(NamedTuple):
    """The results of some pictures.

    Attributes:
        pictures: Number of pictures.
        text: What is written of them; empty where `predictions` are kept.
        counts: Number of results by outcome; empty where `predictions` are kept.
        predictions: The results, where other outputs need them.
        error: Of the first picture that could not be read, in a strict run: what follows it is
            missing.
    """

    pictures: int
    text: str
    counts: dict[str, int]
    predictions: list[Prediction]
    error: str | None = None


class BlockFunction(BatchFunction[str, Block]):
    """Classifies the pictures of a batch and formats their results.

    That way a worker process returns one text for a batch, which costs its parent next to nothing.

    Args:
        classifier: Classifies whole pictures, or the faces in them.
        format_name: A name in `WRITERS`.
        keep_predictions: Return the predictions instead of their text.
        strict: Leave out what follows the first picture that cannot be read.
    """

    def __init__(
        self,
        classifier: EmotionClassifier | FaceClassifier,
        format_name: str,
        *,
        keep_predictions: bool,
        strict: bool,
    ) -> None:
        self._arguments = classifier, format_name, keep_predictions, strict
        self._predict: BatchFunction[Any, list[Any]] = classifier.make_batch_function()
        self._keep_predictions, self._strict = keep_predictions, strict
        self._writer = WRITERS[format_name](
            io.StringIO(),  # it only formats
            classifier.labels,
            classifier.prediction_type,
            with_other=classifier.other_threshold is not None,
        )
        # A writer of CSV has a buffer.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_block_function, self._arguments

    def __call__(self, batch: list[str], stop: threading.Event) -> Block:
        """Return the results of a batch."""
        return self._make_block(len(batch), self._predict(batch, stop))

    def describe_crash(self, item: str, reason: str) -> Block:
        """Return the result of a picture that ends its process."""
        return self._make_block(1, self._predict.describe_crash(item, reason))

    def take_counts(self) -> Any:
        """Return what was counted since the last call."""
        return self._predict.take_counts()

    def add_counts(self, counts: Any) -> None:
        """Add the counts of a worker to those of this process."""
        self._predict.add_counts(counts)

    def _make_block(self, pictures: int, predictions: Sequence[Prediction]) -> Block:
        error = None
        if self._strict:
            errors = [one.error is not None for one in predictions]
            if True in errors:
                first = errors.index(True)
                error, predictions = predictions[first].error, predictions[:first]
        if self._keep_predictions:
            return Block(pictures, "", {}, list(predictions), error)
        with self._lock:
            text = "".join(map(self._writer.format, predictions))
        counts = Counter(prediction.outcome for prediction in predictions)
        return Block(pictures, text, dict(counts), [], error)


def _make_block_function(
    classifier: EmotionClassifier | FaceClassifier,
    format_name: str,
    keep_predictions: bool,
    strict: bool,
) -> BlockFunction:
    return BlockFunction(classifier, format_name, keep_predictions=keep_predictions, strict=strict)
