"""CSV that is safe to open in a spreadsheet and from which every text can be recovered."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TextIO

# First characters of a formula in Excel and LibreOffice, in full width too, and the apostrophe.
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠'")


class CsvRows:
    """Formats rows of CSV (RFC 4180) whose lines end in a line feed.

    A text that a spreadsheet would run as a formula (it begins with = + - @, a tab or a line
    break) gets a leading apostrophe, and so does a text that begins with an apostrophe: removing
    one leading apostrophe recovers every text. Bytes of a name that are not UTF-8 are written
    unchanged.

    Args:
        stream: The stream that `write` writes to; None where only `format` is used.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream, self._buffer = stream, io.StringIO()
        # With this line ending, the csv module quotes both of its characters within cells.
        self._csv = csv.writer(self._buffer, lineterminator="\r\n")

    def write(self, cells: Sequence[object]) -> None:
        """Write one row; numbers and None get no apostrophe."""
        assert self._stream is not None
        self._stream.write(self.format(cells))

    def format(self, cells: Sequence[object]) -> str:
        """Return one row, as `write` writes it."""
        self._csv.writerow(
            [_escape_formula(cell) if isinstance(cell, str) else cell for cell in cells]
        )
        row = self._buffer.getvalue()[:-2] + "\n"
        self._buffer.seek(0)
        self._buffer.truncate()
        return row


def _escape_formula(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA_STARTS) else text
