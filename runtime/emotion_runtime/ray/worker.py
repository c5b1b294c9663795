"""The code that runs on the workers of a cluster."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.errors import ModelFileError
from emotion_runtime.faces.classifier import FaceClassifier
from emotion_runtime.pictures.preprocessing import NamedBytes
from emotion_runtime.prediction import OTHER, Prediction
from emotion_runtime.ray.packages import pa, pq
from emotion_runtime.ray.storage import fetch_pictures, locate
from emotion_runtime.results.writers import WRITERS


class Predictor:
    """Classifies batches of pictures, for `ray.data.Dataset.map_batches`.

    >>> pictures = ray.data.read_binary_files("faces/", include_paths=True)  # doctest: +SKIP
    >>> workers = ray.data.ActorPoolStrategy(size=7)  # of 8 CPUs; reading needs one too
    >>> results = pictures.map_batches(Predictor, compute=workers)  # doctest: +SKIP

    Args:
        model: As in `EmotionClassifier`.
        faces: Find the faces of photographs, and return one row for each face.
    """

    def __init__(self, model: str | None = None, *, faces: bool = False) -> None:
        classifier = EmotionClassifier(model)
        self.classifier = FaceClassifier(classifier) if faces else classifier

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of ``emotion-infer`` for a batch with the columns bytes and path."""
        pictures = [
            NamedBytes(bytes(data), str(path))
            for data, path in zip(batch["bytes"], batch["path"], strict=True)
        ]
        predictions = list(self.predict(pictures))
        return make_columns(
            predictions,
            self.classifier.labels,
            self.classifier.prediction_type,
            with_other=self.with_other,
        )

    @property
    def with_other(self) -> bool:
        """Return whether the model has the output `other`, which gets a column."""
        return self.classifier.other_threshold is not None

    def predict(self, pictures: Iterable[str | NamedBytes]) -> Iterator[Prediction]:
        """Classify a stream of pictures in this thread; Ray places a worker on each CPU."""
        return self.classifier.predict_many(pictures, workers=1)


def make_columns(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    kind: type[Prediction],
    *,
    with_other: bool = False,
) -> dict[str, Any]:
    """Convert predictions to columns: path, label, confidence, the classes, error and further ones.

    Where the model has the output `other`, its column follows those of the classes.
    """
    values: dict[str, list[Any]] = {
        "path": [_escape_invalid_utf8(one.path) for one in predictions],
        "label": [one.label for one in predictions],
        "confidence": [one.confidence for one in predictions],
    }
    for label in labels:
        values[label] = [(one.probabilities or {}).get(label) for one in predictions]
    if with_other:
        values[OTHER] = [one.other for one in predictions]
    values["error"] = [_escape_invalid_utf8(one.error) for one in predictions]
    further = [one.columns() for one in predictions]
    for name in kind.COLUMNS:
        values[name] = [row[name] for row in further]
    return {name: np.array(column, dtype=object) for name, column in values.items()}


def make_schema(
    labels: Sequence[str], kind: type[Prediction], *, with_other: bool = False
) -> pa.Schema:
    """Return the types of the columns, which are the same in every partition."""
    text, number = pa.string(), pa.float64()
    fields = [("path", text), ("label", text), ("confidence", number)]
    fields += [(label, number) for label in (*labels, *([OTHER] if with_other else []))]
    fields.append(("error", text))
    further = {"detection_confidence": number, "warning": text}
    for name in kind.COLUMNS:
        fields.append((name, further.get(name, pa.int64())))
    return pa.schema(fields)


@dataclass(frozen=True)
class Job:
    """The settings that all partitions share.

    Attributes:
        model: Path of the model file.
        model_sha256: SHA-256 of the model file.
        faces: Whether the faces of photographs are found.
        output: Folder of the results, by path or URI.
        format_name: One of `defaults.FORMATS`.
    """

    model: str
    model_sha256: str
    faces: bool
    output: str
    format_name: str


class PartitionWorker:
    """Classifies the pictures of a partition and writes its file."""

    _predictor: Predictor | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the counts of a partition, and the error that ends the run, or an empty text."""
        try:
            return {**self._process(batch), "error": [""]}
        except ModelFileError as error:  # raised here, Ray would wrap it in a traceback
            return {
                "part": batch["part"],
                "pictures": [0],
                "unreadable": [0],
                "error": [str(error)],
            }

    def _process(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Classify and write one partition, and return its counts."""
        (part,), (pictures,), (text,) = batch["part"], batch["pictures"], batch["job"]
        job = Job(**json.loads(text))
        if self._predictor is None:
            predictor = Predictor(job.model, faces=job.faces)
            # The path is the same on every machine, but the file may be another one.
            if predictor.classifier.model_sha256 != job.model_sha256:
                raise ModelFileError(
                    f"{job.model}: not the file that the run was begun with, on the machine of "
                    f"this worker; copy the same model file to every machine."
                )
            self._predictor = predictor
            self._filesystem, self._folder = locate(job.output)
            self._format = job.format_name
        predictor = self._predictor
        predictions = list(predictor.predict(fetch_pictures(map(os.fsdecode, pictures))))
        self._write(int(part), predictions, predictor)
        unreadable = sum(one.error is not None for one in predictions)
        return {"part": [part], "pictures": [len(pictures)], "unreadable": [unreadable]}

    def _write(self, part: int, predictions: list[Prediction], predictor: Predictor) -> None:
        """Write the file of a partition under a temporary name, and rename it."""
        labels, kind = predictor.classifier.labels, predictor.classifier.prediction_type
        with_other = predictor.with_other
        name = make_part_name(part, self._format)
        target = f"{self._folder}/{name}"
        temporary = f"{self._folder}/.{name}"
        with self._filesystem.open_output_stream(temporary) as stream:
            if self._format == "parquet":
                schema = make_schema(labels, kind, with_other=with_other)
                values = make_columns(predictions, labels, kind, with_other=with_other)
                arrays = [pa.array(values[field.name].tolist(), field.type) for field in schema]
                pq.write_table(pa.Table.from_arrays(arrays, schema=schema), stream)
            else:
                text = io.StringIO()
                with WRITERS[self._format](text, labels, kind, with_other=with_other) as writer:
                    for prediction in predictions:
                        writer.write(prediction)
                stream.write(text.getvalue().encode("utf-8", "surrogateescape"))
        self._filesystem.move(temporary, target)


def _escape_invalid_utf8(text: str | None) -> str | None:
    """Return text with bytes that are not UTF-8 as escapes, since Arrow accepts UTF-8 only."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def make_part_name(part: int, format_name: str) -> str:
    """Return the name of the file of a partition."""
    return f"part-{part:05}.{format_name}"
