"""Evaluate a model on class folders, with one row of numbers in memory for each picture."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.errors import SourceError
from emotion_runtime.evaluate.folders import ClassFolders
from emotion_runtime.evaluate.metrics import Metrics, measure_probabilities
from emotion_runtime.evaluate.open_set import OpenSet, compute_share, count_confusion
from emotion_runtime.pictures.decoder_messages import silence_messages
from emotion_runtime.pictures.sources import find_pictures
from emotion_runtime.prediction import OTHER, UNCERTAIN, Prediction
from emotion_runtime.processes import flatten, map_adaptively

_BATCH_SIZE = 32

OnPrediction = Callable[[Prediction, str], None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of a model on labelled pictures.

    Attributes:
        labels: Labels of the model.
        metrics: Metrics of the most probable label on all readable pictures of the model's
            labels, whatever their confidence and `other` are.
        min_confidence: The confidence threshold in use.
        covered: Number of these pictures that get a label: their confidence reaches the
            threshold, and they are not ``other``.
        covered_right: Number of covered pictures whose label is right.
        others: For each folder that is not named after a label: the number of its pictures, and
            how many of them got a label.
        missing: Labels without a picture.
        errors: One sentence for each picture that could not be read, and each folder that could
            not be listed.
        passed_over: Number of files that are not pictures by their name, and of links to folders
            that were read already.
        outside_split: Number of pictures that were left out, because they are not in the selected
            split.
        not_found: Number of pictures of that split that are not in the folders.
        other_threshold: The threshold of `other` in use; None for models without this output.
        open_set: `other` on the pictures of the labels and on those of other folders, without a
            folder ``uncertain``, whose pictures may show either; None without this output.
        confusion: Confusion matrix with ``other`` as the last row and column, int64 (classes + 1,
            classes + 1); None without this output.
    """

    labels: tuple[str, ...]
    metrics: Metrics
    min_confidence: float
    covered: int
    covered_right: int
    others: dict[str, tuple[int, int]]
    missing: tuple[str, ...]
    errors: tuple[str, ...]
    passed_over: int
    outside_split: int = 0
    not_found: int = 0
    other_threshold: float | None = None
    open_set: OpenSet | None = None
    confusion: NDArray[np.int64] | None = None

    @property
    def pictures(self) -> int:
        """Return the number of pictures of the labels."""
        return int(self.metrics.confusion.sum())

    @property
    def other_pictures(self) -> int:
        """Return the number of pictures of other classes, without a folder ``uncertain``."""
        return sum(count for name, (count, _) in self.others.items() if name != UNCERTAIN)

    @property
    def unlabelled(self) -> int:
        """Return how many pictures of other classes get no label, as they should."""
        labelled = sum(count for name, (_, count) in self.others.items() if name != UNCERTAIN)
        return self.other_pictures - labelled

    @property
    def has_wrong_labels(self) -> bool:
        """Return whether the label of a picture is wrong; with `other`, also a missing label."""
        confusion = self.metrics.confusion if self.confusion is None else self.confusion
        return bool(confusion.trace() < confusion.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        total = self.pictures
        other: dict[str, Any] = {}
        if self.open_set is not None and self.confusion is not None:
            figures = self.open_set.to_dict(self.other_threshold or 0.0)
            matrix = {"confusion_matrix": self.confusion.tolist()}
            other = {"other": {**figures, "labels": [*self.labels, OTHER], **matrix}}
            right = self.covered_right + self.unlabelled
            other["all_pictures"] = total + self.other_pictures
            other["accuracy_with_other"] = round(right / (total + self.other_pictures), 6)
        return {
            **self.metrics.to_dict(self.labels),
            **other,
            "min_confidence": round(self.min_confidence, 6),
            "coverage": round(self.covered / total, 6),
            "accuracy_of_covered": round(self.covered_right / self.covered, 6)
            if self.covered
            else None,
            "right_label": round(self.covered_right / total, 6),
            "others_without_label": compute_share(self.unlabelled, self.other_pictures),
            "other_folders": {
                name: {"pictures": count, "labelled": labelled}
                for name, (count, labelled) in self.others.items()
            },
            "unreadable": len(self.errors),
            "passed_over": self.passed_over,
            "outside_split": self.outside_split,
            "not_found": self.not_found,
        }


@dataclass
class Evaluator:
    """Evaluates a model on class folders.

    Attributes:
        classifier: The model.
        source: The class folders.
        workers: Number of threads, or in a long run of worker processes; None for the number of
            CPUs that this process may use.
        on_prediction: Called with each prediction and the name of its folder.
        wrap_predictions: Wraps the iterator of predictions, for example to show progress.
        selected_paths: Paths of the pictures to evaluate, relative to `root`; None for all.
        root: The parent of the class folders.
        worker_notes: Sentences about worker processes that were not started, or that ended.
    """

    classifier: EmotionClassifier
    source: ClassFolders
    workers: int | None = None
    on_prediction: OnPrediction = lambda _prediction, _folder: None
    wrap_predictions: Callable[[Iterator[Prediction]], Iterator[Prediction]] = lambda stream: stream
    selected_paths: frozenset[str] | None = None
    root: str = "."
    worker_notes: list[str] = field(default_factory=list, init=False)
    _passed_over: int = field(default=0, init=False)
    _outside_split: int = field(default=0, init=False)
    _selected: int = field(default=0, init=False)
    _unlisted: list[str] = field(default_factory=list, init=False)

    def evaluate(self) -> Evaluation:
        """Classify every picture, and compare the labels with the names of the folders.

        Raises:
            SourceError: No picture of the model's labels can be read, or a file is in the folders
                of two labels.
        """
        labels = self.classifier.labels
        rows: list[NDArray[np.float32]] = []
        truth: list[int] = []
        open_set = _OpenSetCounts(labels)
        covered, covered_right = 0, 0
        errors: list[str] = []
        others: dict[str, tuple[int, int]] = {path.name: (0, 0) for path in self.source.others}
        for folder, prediction in self._predictions():
            self.on_prediction(prediction, folder)
            if prediction.probabilities is None or prediction.confidence is None:
                errors.append(prediction.error or f"{prediction.path}: no prediction.")
            elif folder in others:
                count, labelled = others[folder]
                others[folder] = (count + 1, labelled + (prediction.label in labels))
                open_set.add(prediction, folder)
            else:
                rows.append(np.fromiter(prediction.probabilities.values(), np.float32))
                truth.append(labels.index(folder))
                covered += prediction.label in labels
                covered_right += prediction.label == folder
                open_set.add(prediction, folder)
        errors += self._unlisted
        if not rows:
            raise SourceError(
                f"no picture of {', '.join(labels)} could be read"
                + (f" ({errors[0]})" if errors else "")
                + "."
            )
        probabilities, known = np.stack(rows), np.array(truth, np.int64)
        metrics = measure_probabilities(probabilities, known)
        return Evaluation(
            labels=labels,
            metrics=metrics,
            min_confidence=self.classifier.min_confidence,
            covered=covered,
            covered_right=covered_right,
            others=others,
            missing=tuple(
                name for name, count in zip(labels, metrics.support, strict=True) if not count
            ),
            errors=tuple(errors),
            passed_over=self._passed_over + self.source.unassigned,
            outside_split=self._outside_split,
            not_found=0
            if self.selected_paths is None
            else len(self.selected_paths) - self._selected,
            other_threshold=self.classifier.other_threshold,
            open_set=None if self.classifier.other_threshold is None else open_set.open_set(),
            confusion=None if self.classifier.other_threshold is None else open_set.confusion(),
        )

    def _predictions(self) -> Iterator[tuple[str, Prediction]]:
        """Yield the folder name and the prediction of each picture."""
        names: deque[str] = deque()
        pictures = self._pictures(names)
        batches = map_adaptively(
            self.classifier.make_batch_function(),
            pictures,
            batch_size=_BATCH_SIZE,
            workers=self.workers,
            initialise=silence_messages,
            notes=self.worker_notes,
        )
        for prediction in self.wrap_predictions(flatten(batches)):
            yield names.popleft(), prediction

    def _pictures(self, names: deque[str]) -> Iterator[str]:
        def count_skipped(_: object) -> None:
            self._passed_over += 1

        seen: dict[tuple[int, int], str] = {}
        for path in (*self.source.folders.values(), *self.source.others):
            # The evaluation reports an empty class folder as a label without pictures.
            found = find_pictures(
                [str(path)],
                on_error=lambda error: self._unlisted.append(str(error)),
                on_empty=lambda _: None,
                on_other=count_skipped,
                on_repeat=count_skipped,
            )
            for picture in found:
                if self.selected_paths is not None:
                    relative = os.path.relpath(picture, self.root).replace(os.sep, "/")
                    if relative not in self.selected_paths:
                        self._outside_split += 1
                        continue
                    self._selected += 1
                with contextlib.suppress(
                    OSError
                ):  # if it no longer exists, the prediction has the error
                    status = os.stat(picture)  # noqa: PTH116  faster; there may be a million
                    if seen.setdefault((status.st_dev, status.st_ino), path.name) != path.name:
                        raise SourceError(
                            f"{picture}: is also in the folder of another label; a picture has one."
                        )
                names.append(path.name)
                yield picture


class _OpenSetCounts:
    """Collects the values of `other` and the labels of predictions."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._known: list[float] = []
        self._right: list[bool] = []
        self._others: list[float] = []
        self._decided: list[int] = []
        self._truth: list[int] = []

    def add(self, prediction: Prediction, folder: str) -> None:
        """Add a prediction and the name of its folder; ignore predictions without `other`."""
        probabilities = prediction.probabilities
        if prediction.other is None or probabilities is None or folder == UNCERTAIN:
            return
        most_probable = max(probabilities, key=probabilities.__getitem__)
        if folder in self._labels:
            self._known.append(prediction.other)
            self._right.append(most_probable == folder)
        else:
            self._others.append(prediction.other)
        names = (*self._labels, OTHER)
        self._decided.append(names.index(OTHER if prediction.label == OTHER else most_probable))
        self._truth.append(names.index(folder if folder in self._labels else OTHER))

    def open_set(self) -> OpenSet:
        return OpenSet(
            np.array(self._known, np.float32),
            np.array(self._right, np.bool_),
            np.array(self._others, np.float32),
        )

    def confusion(self) -> NDArray[np.int64]:
        decided, truth = np.array(self._decided, np.int64), np.array(self._truth, np.int64)
        return count_confusion(decided, truth, len(self._labels))
