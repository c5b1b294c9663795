"""The pictures that a model got wrong: listed in a CSV, and drawn on a contact sheet."""

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
    """Takes every prediction, and keeps those whose label differs from their folder's name.

    Pictures of folders named after none of the labels are wrong where a model that has the output
    `other` names them; without it they have no right label and are left out.

    Args:
        labels: The model's.
        listing: The CSV to write, sorted by confidence, highest first; None for none.
        sheet: The contact sheet to draw; None for none.
        font: Draws the contact sheet's labels; None for the font that ships.
    """

    def __init__(
        self,
        labels: Sequence[str],
        listing: Path | None,
        sheet: Path | None,
        font: Font | None = None,
    ) -> None:
        self._labels, self._listing = tuple(labels), listing
        self._sheet = None if sheet is None else ContactSheet(sheet, font=font)
        self._rows: list[tuple[str, str, str, float, float]] = []

    def add(self, prediction: Prediction, true_label: str) -> None:
        """Take one prediction."""
        if prediction.probabilities is None:
            return
        chances = dict(prediction.probabilities)
        predicted = max(chances, key=chances.__getitem__)
        right = true_label
        if prediction.other is not None:
            chances[OTHER] = prediction.other
            predicted = OTHER if prediction.label == OTHER else predicted
            right = true_label if true_label in self._labels else OTHER
        if right not in chances or true_label == UNCERTAIN or predicted == right:
            return
        if self._listing is not None:
            self._rows.append(
                (
                    prediction.path or "",
                    true_label,
                    predicted,
                    chances[predicted],
                    chances[right],
                )
            )
        if self._sheet is not None:
            self._sheet.add(prediction, (true_label, predicted))

    def save(self) -> None:
        """Write what was wanted.

        Raises:
            OutputError: It cannot be written.
        """
        if self._listing is not None:
            with open_output(self._listing) as stream:
                self._write(stream)
        if self._sheet is not None:
            self._sheet.save()

    def _write(self, stream: TextIO) -> None:
        rows = CsvRows(stream)
        rows.write(COLUMNS)
        for path, true, predicted, confidence, chance in sorted(
            self._rows, key=lambda row: (-row[3], row[0])
        ):
            rows.write([path, true, predicted, f"{confidence:.6f}", f"{chance:.6f}"])
