"""Collect misclassified pictures, for a CSV and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from emotion_runtime.drawing.fonts import Font
from emotion_runtime.prediction import OTHER, UNCERTAIN, Prediction
from emotion_runtime.results.contact_sheet import ContactSheet
from emotion_runtime.results.csv_rows import CsvRows
from emotion_runtime.results.output import open_output

COLUMNS = ("path", "true_label", "predicted_label", "confidence", "true_probability")


class WrongPictures:
    """Collects the pictures whose label differs from the name of their folder.

    Pictures of other folders are wrong where a model with the output `other` gives them one of its
    labels. Without this output they have no right label and are left out.

    Args:
        labels: Labels of the model.
        csv_path: CSV to write, sorted by confidence, highest first; None for none.
        sheet_path: Contact sheet to draw; None for none.
        font: Font of the contact sheet's labels; None for the bundled font.
    """

    def __init__(
        self,
        labels: Sequence[str],
        csv_path: Path | None,
        sheet_path: Path | None,
        font: Font | None = None,
    ) -> None:
        self._labels, self._csv_path = tuple(labels), csv_path
        self._sheet = None if sheet_path is None else ContactSheet(sheet_path, font=font)
        self._rows: list[tuple[str, str, str, float, float]] = []

    def add(self, prediction: Prediction, true_label: str) -> None:
        """Add a prediction."""
        if prediction.probabilities is None:
            return
        probabilities = dict(prediction.probabilities)
        predicted = max(probabilities, key=probabilities.__getitem__)
        right = true_label
        if prediction.other is not None:
            probabilities[OTHER] = prediction.other
            predicted = OTHER if prediction.label == OTHER else predicted
            right = true_label if true_label in self._labels else OTHER
        if right not in probabilities or true_label == UNCERTAIN or predicted == right:
            return
        if self._csv_path is not None:
            self._rows.append(
                (
                    prediction.path or "",
                    true_label,
                    predicted,
                    probabilities[predicted],
                    probabilities[right],
                )
            )
        if self._sheet is not None:
            self._sheet.add(prediction, (true_label, predicted))

    def save(self) -> None:
        """Write the CSV and the contact sheet.

        Raises:
            OutputError: One of them cannot be written.
        """
        if self._csv_path is not None:
            with open_output(self._csv_path) as stream:
                self._write(stream)
        if self._sheet is not None:
            self._sheet.save()

    def _write(self, stream: TextIO) -> None:
        rows = CsvRows(stream)
        rows.write(COLUMNS)
        for path, true, predicted, confidence, true_probability in sorted(
            self._rows, key=lambda row: (-row[3], row[0])
        ):
            rows.write([path, true, predicted, f"{confidence:.6f}", f"{true_probability:.6f}"])
