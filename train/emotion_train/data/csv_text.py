"""CSV files as people have them: a byte-order mark, gzip, semicolons, headers in any case."""

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
    """Return the names of the columns, without the spaces around them and in lower case.

    Raises:
        DataError: The file cannot be read as text.
    """
    for _, cells in read_rows(path):
        return [cell.strip().casefold() for cell in cells]
    return []


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Return the rows that are not empty, each with the number of its last line; first the header.

    Raises:
        DataError: The file cannot be read as CSV.
    """
    csv.field_size_limit(sys.maxsize)
    with _reading(path), _open_text(path) as lines:
        first = lines.readline()
        lines.seek(0)
        delimiter = max(_DELIMITERS, key=first.count)
        reader = csv.reader(lines, delimiter=delimiter)
        for cells in reader:
            if cells:
                yield reader.line_num, cells


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}).") from error


def _open_text(path: Path) -> TextIO:
    """Open plain text or gzip, told apart by gzip's first two bytes and not by the name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")
