"""CSV that a spreadsheet opens without running anything, and that gives every text back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TextIO

# What Excel and LibreOffice take for the beginning of a formula, in full width too, and the guard.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠'")


class CsvRows:
    """Writes rows of CSV (RFC 4180) whose lines end in a line feed.

    A text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a line
    break) gets an apostrophe in front, and so does one that begins with an apostrophe: who takes
    one leading apostrophe away has the exact text. Bytes of a name that are no UTF-8 are written
    as they are.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._buffer = stream, io.StringIO()
        # Lines that end so make the csv module quote both characters within cells.
        self._csv = csv.writer(self._buffer, lineterminator="\r\n")

    def write(self, cells: Sequence[object]) -> None:
        """Write one row; numbers and None are never guarded."""
        self._csv.writerow([_guarded(cell) if isinstance(cell, str) else cell for cell in cells])
        self._stream.write(self._buffer.getvalue()[:-2] + "\n")
        self._buffer.seek(0)
        self._buffer.truncate()


def _guarded(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text
