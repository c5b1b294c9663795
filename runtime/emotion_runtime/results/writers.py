"""The output formats. Writers take one prediction at a time, so that memory stays constant."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from emotion_runtime.command_line.text_width import measure_width, pad_left, pad_right
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import (
    NO_FACE,
    OTHER,
    SMALL_FACE,
    UNCERTAIN,
    UNREADABLE,
    Prediction,
)
from emotion_runtime.results.csv_rows import CsvRows
from emotion_runtime.results.json_text import NOT_FINITE, to_json
from emotion_runtime.terminal import escape_controls

if TYPE_CHECKING:
    from typing_extensions import Self


class Writer(ABC):
    """Writes predictions to a text stream; a ``with`` block completes the output at its end.

    The text of a prediction does not depend on the others, so that worker processes can make it by
    `format`, and their parent writes it by `write_text`.

    Args:
        stream: The stream to write to.
        labels: The labels of the model.
        kind: Type of the predictions; it may have further columns.
        with_other: Whether the model has the output `other`, which gets a column; it is empty for
            pictures that cannot be read.
    """

    def __init__(
        self,
        stream: TextIO,
        labels: Sequence[str],
        kind: type[Prediction] = Prediction,
        *,
        with_other: bool = False,
    ) -> None:
        self.stream, self.labels, self.kind = stream, tuple(labels), kind
        self.with_other = with_other

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
    def format(self, prediction: Prediction) -> str:
        """Return the text of one prediction."""

    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""
        self.write_text(self.format(prediction))

    def write_text(self, text: str) -> None:
        """Write the texts of several predictions, joined."""
        self.stream.write(text)

    def begin(self) -> None:  # noqa: B027  most formats have no beginning or end
        """Write the beginning of the output, before the first prediction."""

    def end(self) -> None:  # noqa: B027
        """Write the end of the output, after the last prediction."""


class JsonLinesWriter(Writer):
    """One JSON object a line."""

    def format(self, prediction: Prediction) -> str:
        return _make_json_line(prediction, with_other=self.with_other) + "\n"


class JsonWriter(Writer):
    """One JSON array, one object a line."""

    _first = True

    def begin(self) -> None:
        self.stream.write("[")

    def format(self, prediction: Prediction) -> str:
        return ",\n" + _make_json_line(prediction, with_other=self.with_other)

    def write_text(self, text: str) -> None:
        if text:
            self.stream.write(text.removeprefix(",") if self._first else text)
            self._first = False

    def end(self) -> None:
        self.stream.write("\n]\n")


class CsvWriter(Writer):
    """Columns path, label, confidence, one for each class, error and further ones; see `CsvRows`.

    Where the model has the output `other`, its column follows those of the classes.
    """

    def __init__(
        self,
        stream: TextIO,
        labels: Sequence[str],
        kind: type[Prediction] = Prediction,
        *,
        with_other: bool = False,
    ) -> None:
        super().__init__(stream, labels, kind, with_other=with_other)
        self._rows = CsvRows(stream)

    def begin(self) -> None:
        other = [OTHER] if self.with_other else []
        self._rows.write(
            ["path", "label", "confidence", *self.labels, *other, "error", *self.kind.COLUMNS]
        )

    def format(self, prediction: Prediction) -> str:
        probabilities = prediction.probabilities or {}
        return self._rows.format(
            [
                prediction.path,
                prediction.label,
                _format_number(prediction.confidence),
                *(_format_number(probabilities.get(label)) for label in self.labels),
                *([_format_number(prediction.other)] if self.with_other else []),
                prediction.error,
                *map(_format_if_float, prediction.columns().values()),
            ]
        )


class TableWriter(Writer):
    """Aligned columns to read on a terminal; the path is last, so that it may have any length."""

    def __init__(
        self,
        stream: TextIO,
        labels: Sequence[str],
        kind: type[Prediction] = Prediction,
        *,
        with_other: bool = False,
    ) -> None:
        super().__init__(stream, labels, kind, with_other=with_other)
        self._names = [escape_controls(label) for label in self.labels]
        self._names += [OTHER] if self.with_other else []
        outcomes = (*self._names, UNCERTAIN, UNREADABLE, NO_FACE)
        self._label_width = max(map(measure_width, outcomes))
        self._probability_widths = [max(7, measure_width(name)) for name in self._names]
        self._further_widths = [
            max(_MIN_WIDTH, _MIN_WIDTHS.get(name, 0)) for name in self.kind.COLUMNS
        ]

    def begin(self) -> None:
        self.stream.write(
            self._format_line(
                "label", "confidence", self._names, map(_shorten_name, self.kind.COLUMNS), "path"
            )
        )

    def format(self, prediction: Prediction) -> str:
        confidence, probabilities = "", [""] * len(self._names)
        if prediction.probabilities is not None:
            confidence = f"{prediction.confidence:.1%}"
            probabilities = [f"{prediction.probabilities[label]:.1%}" for label in self.labels]
            if self.with_other:
                probabilities.append("" if prediction.other is None else f"{prediction.other:.1%}")
        further = map(_format_cell, prediction.columns().values())
        last = prediction.error or prediction.path or ""
        return self._format_line(prediction.outcome, confidence, probabilities, further, last)

    def _format_line(
        self,
        label: str,
        confidence: str,
        probabilities: Sequence[str],
        further: Iterable[str],
        last: str,
    ) -> str:
        cells = [pad_right(escape_controls(label), self._label_width), f"{confidence:>10}"]
        cells += map(pad_left, probabilities, self._probability_widths)
        cells += map(pad_left, further, self._further_widths)
        # A line break in a name would break the table; the other formats keep it.
        return "  ".join([*cells, escape_controls(last)]) + "\n"


WRITERS: dict[str, type[Writer]] = {
    "table": TableWriter,
    "csv": CsvWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
}


def _format_number(value: float | None) -> str:
    """Return a number with six decimals, and nothing for None."""
    if value is None:
        return ""
    if not math.isfinite(value):
        raise OutputError(NOT_FINITE)
    return f"{value:.6f}"


# Width of further columns in a table, in characters.
_MIN_WIDTH = 6
_MIN_WIDTHS = {"warning": len(SMALL_FACE)}


def _shorten_name(name: str) -> str:
    """Return the heading of a further column in a table."""
    return {"detection_confidence": "found"}.get(name, name)


def _format_cell(value: object) -> str:
    """Return a further value in a table."""
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _format_if_float(value: object) -> object:
    return _format_number(value) if isinstance(value, float) else value


def _make_json_line(prediction: Prediction, *, with_other: bool) -> str:
    values = prediction.to_dict(with_other=with_other)
    if prediction.probabilities is not None and prediction.confidence is not None:
        values["confidence"] = round(prediction.confidence, 6)
        values["probabilities"] = {k: round(v, 6) for k, v in prediction.probabilities.items()}
        for name in (OTHER, *prediction.COLUMNS):
            if isinstance(value := values.get(name), float):
                values[name] = round(value, 6)
    return to_json(values)
