"""The output formats. Each writer takes one prediction at a time, so that memory stays constant."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from emotion_runtime.prediction import Prediction

if TYPE_CHECKING:
    from typing_extensions import Self


class Writer(ABC):
    """Writes predictions to a text stream; a ``with`` block completes the output at its end."""

    def __init__(self, stream: TextIO, labels: Sequence[str]) -> None:
        self.stream, self.labels = stream, tuple(labels)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.end()

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""

    def begin(self) -> None:  # noqa: B027  most formats begin and end with nothing
        """Write what comes before the first prediction."""

    def end(self) -> None:  # noqa: B027
        """Write what comes after the last prediction."""


class JsonLinesWriter(Writer):
    """One JSON object a line."""

    def write(self, prediction: Prediction) -> None:
        self.stream.write(_json_line(prediction) + "\n")


class JsonWriter(Writer):
    """One JSON array, one object a line."""

    _first = True

    def begin(self) -> None:
        self.stream.write("[")

    def write(self, prediction: Prediction) -> None:
        self.stream.write(("\n" if self._first else ",\n") + _json_line(prediction))
        self._first = False

    def end(self) -> None:
        self.stream.write("\n]\n")


class CsvWriter(Writer):
    """Columns path, label, confidence, one for each class, error (RFC 4180 quoting)."""

    def begin(self) -> None:
        self._csv = csv.writer(self.stream, lineterminator="\n")
        self._csv.writerow(["path", "label", "confidence", *self.labels, "error"])

    def write(self, prediction: Prediction) -> None:
        chances = prediction.probabilities or {}
        self._csv.writerow(
            [
                prediction.path,
                prediction.label,
                _six(prediction.confidence),
                *(_six(chances.get(label)) for label in self.labels),
                prediction.error,
            ]
        )


class TableWriter(Writer):
    """Aligned columns for a person; the path comes last, so that it may have any length."""

    def begin(self) -> None:
        widest = max(len(name) for name in (*self.labels, "uncertain", "unreadable"))
        self._head = f"{{:<{widest}}}  {{:>10}}"
        columns = "".join(f"  {label:>{max(7, len(label))}}" for label in self.labels)
        self.stream.write(self._head.format("label", "confidence") + columns + "  path\n")

    def write(self, prediction: Prediction) -> None:
        if prediction.probabilities is None:
            blank = "".join(" " * (2 + max(7, len(label))) for label in self.labels)
            line = self._head.format("unreadable", "") + blank + f"  {prediction.error}"
        else:
            shares = "".join(
                f"  {prediction.probabilities[label]:>{max(7, len(label))}.1%}"
                for label in self.labels
            )
            head = self._head.format(prediction.label, f"{prediction.confidence:.1%}")
            line = f"{head}{shares}  {prediction.path}"
        # A line break in a name would break the table; the other formats keep it.
        self.stream.write(line.replace("\n", "\\n").replace("\r", "\\r") + "\n")


WRITERS: dict[str, type[Writer]] = {
    "table": TableWriter,
    "csv": CsvWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
}


def _six(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _json_line(prediction: Prediction) -> str:
    values = prediction.to_dict()
    if prediction.probabilities is not None and prediction.confidence is not None:
        values["confidence"] = round(prediction.confidence, 6)
        values["probabilities"] = {k: round(v, 6) for k, v in prediction.probabilities.items()}
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A name of bytes that are no UTF-8 stays intact as escapes.
        return json.dumps(values)
    return text
