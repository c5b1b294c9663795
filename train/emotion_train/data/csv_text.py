"""Reading of CSV files, also with a byte-order mark, gzip, semicolons or tabs."""

from __future__ import annotations

import contextlib
import csv
import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from emotion_train.errors import DataError

_DELIMITERS = (",", ";", "\t")


def read_header(path: Path) -> list[str]:
    """Return the column names, stripped and in lower case.

    Raises:
        DataError: The file cannot be read as text.
    """
    for _, cells in read_rows(path):
        return [cell.strip().casefold() for cell in cells]
    return []


def read_rows(path: Path, errors: str = "strict") -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row that is not empty; the header is first.

    Args:
        path: The file.
        errors: What to do with bytes that are not UTF-8, as in `open`.

    Raises:
        DataError: The file cannot be read as CSV.
    """
    csv.field_size_limit(sys.maxsize)
    with _convert_errors(path), _open_text(path, errors) as lines:
        first = lines.readline()
        lines.seek(0)
        delimiter = max(_DELIMITERS, key=first.count)
        reader = csv.reader(lines, delimiter=delimiter)
        for cells in reader:
            if cells:
                yield reader.line_num, cells


@contextlib.contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    """Raise errors of reading as `DataError`."""
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}).") from error


def _open_text(path: Path, errors: str) -> TextIO:
    """Open plain text or gzip, which is recognised by its first two bytes, not by its name."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if is_gzip:
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", errors=errors, newline=""))
    return path.open(encoding="utf-8-sig", errors=errors, newline="")
