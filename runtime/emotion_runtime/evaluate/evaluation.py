"""Evaluate a model on class folders, in constant memory but for one row of numbers a picture."""

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
from emotion_runtime.pictures.sources import find_pictures
from emotion_runtime.prediction import Prediction

OnPrediction = Callable[[Prediction, str], None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model makes of labelled pictures.

    Attributes:
        labels: The model's.
        metrics: On all pictures of the model's labels that could be read, whatever the
            confidence.
        min_confidence: The confidence threshold in force.
        covered: Of these pictures, those at or above the threshold.
        covered_right: Of the covered ones, those whose label is right.
        others: For each folder named after no label: its pictures, and how many of them got a
            label at or above the threshold all the same.
        missing: Labels without a picture.
        errors: One sentence for each picture that could not be read, and each folder that could
            not be listed.
        passed_over: Files that are no pictures by name, and links to folders that were read.
        outside_split: Pictures left out because they are not of the split that was chosen.
        not_found: Pictures of that split that are not in the folders.
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

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        total = int(self.metrics.confusion.sum())
        return {
            **self.metrics.to_dict(self.labels),
            "min_confidence": round(self.min_confidence, 6),
            "coverage": round(self.covered / total, 6),
            "accuracy_of_covered": round(self.covered_right / self.covered, 6)
            if self.covered
            else None,
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
    """Runs a model over class folders.

    Attributes:
        classifier: The model.
        source: The folders.
        workers: Threads that read and infer; None for the CPUs that this process may use.
        on_prediction: Called with each prediction and the name of the folder it comes from.
        wrap: Given the stream of predictions, such as to show progress.
        only: Paths, relative to `root`, of the pictures to evaluate; None for all.
        root: The folder that the class folders are in.
    """

    classifier: EmotionClassifier
    source: ClassFolders
    workers: int | None = None
    on_prediction: OnPrediction = lambda _prediction, _folder: None
    wrap: Callable[[Iterator[Prediction]], Iterator[Prediction]] = lambda stream: stream
    only: frozenset[str] | None = None
    root: str = "."
    _passed_over: int = field(default=0, init=False)
    _outside_split: int = field(default=0, init=False)
    _chosen: int = field(default=0, init=False)
    _unlisted: list[str] = field(default_factory=list, init=False)

    def evaluate(self) -> Evaluation:
        """Classify every picture, and compare with the folders' names.

        Raises:
            SourceError: Not one picture of the model's labels can be read, or one file is in the
                folders of two labels.
        """
        labels = self.classifier.labels
        threshold = self.classifier.min_confidence
        least = float(np.float32(threshold))  # as the classifier compares
        rows: list[NDArray[np.float32]] = []
        truth: list[int] = []
        errors: list[str] = []
        others: dict[str, tuple[int, int]] = {path.name: (0, 0) for path in self.source.others}
        for folder, prediction in self._predictions():
            self.on_prediction(prediction, folder)
            if prediction.probabilities is None or prediction.confidence is None:
                errors.append(prediction.error or f"{prediction.path}: no prediction.")
            elif folder in others:
                count, labelled = others[folder]
                others[folder] = (count + 1, labelled + (prediction.confidence >= least))
            else:
                rows.append(np.fromiter(prediction.probabilities.values(), np.float32))
                truth.append(labels.index(folder))
        errors += self._unlisted
        if not rows:
            raise SourceError(
                f"no picture of {', '.join(labels)} could be read"
                + (f" ({errors[0]})" if errors else "")
                + "."
            )
        probabilities, known = np.stack(rows), np.array(truth, np.int64)
        covered = probabilities.max(axis=1) >= np.float32(threshold)
        right = probabilities.argmax(axis=1) == known
        metrics = measure_probabilities(probabilities, known)
        return Evaluation(
            labels=labels,
            metrics=metrics,
            min_confidence=threshold,
            covered=int(covered.sum()),
            covered_right=int(right[covered].sum()),
            others=others,
            missing=tuple(
                name for name, count in zip(labels, metrics.support, strict=True) if not count
            ),
            errors=tuple(errors),
            passed_over=self._passed_over + self.source.loose,
            outside_split=self._outside_split,
            not_found=0 if self.only is None else len(self.only) - self._chosen,
        )

    def _predictions(self) -> Iterator[tuple[str, Prediction]]:
        """Give the name of each prediction's folder with it: one of each, in the same order."""
        names: deque[str] = deque()
        pictures = self._pictures(names)
        for prediction in self.wrap(self.classifier.predict_many(pictures, workers=self.workers)):
            yield names.popleft(), prediction

    def _pictures(self, names: deque[str]) -> Iterator[str]:
        def note(_: object) -> None:
            self._passed_over += 1

        seen: dict[tuple[int, int], str] = {}
        for path in (*self.source.folders.values(), *self.source.others):
            # An empty class folder is a label without pictures, which the evaluation reports.
            found = find_pictures(
                [str(path)],
                on_error=lambda error: self._unlisted.append(str(error)),
                on_empty=lambda _: None,
                on_other=note,
                on_repeat=note,
            )
            for picture in found:
                if self.only is not None:
                    if os.path.relpath(picture, self.root).replace(os.sep, "/") not in self.only:
                        self._outside_split += 1
                        continue
                    self._chosen += 1
                with contextlib.suppress(OSError):  # gone: the prediction has the error
                    status = os.stat(picture)  # noqa: PTH116  there may be a million
                    if seen.setdefault((status.st_dev, status.st_ino), path.name) != path.name:
                        raise SourceError(
                            f"{picture}: is also in the folder of another label; a picture has one."
                        )
                names.append(path.name)
                yield picture
