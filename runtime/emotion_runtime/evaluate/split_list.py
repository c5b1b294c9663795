"""Read the list of the pictures that a training held out, ``report/splits.csv`` of a run."""

from __future__ import annotations

import csv
from pathlib import Path

from emotion_runtime.errors import SourceError

TEST_SPLIT = "test"


def read_test_paths(path: Path) -> frozenset[str]:
    """Return the paths of a run's test set, relative to the data folder.

    Args:
        path: A CSV file with the columns path and split, written by emotion-train.

    Raises:
        SourceError: The file cannot be read, lacks a column, or lists no test picture.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file.")
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            if not {"path", "split"} <= set(reader.fieldnames or ()):
                raise SourceError(f"{path}: expected a CSV with the columns path and split.")
            listed = frozenset(row["path"] or "" for row in reader if row["split"] == TEST_SPLIT)
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read ({error}).") from error
    if not listed:
        raise SourceError(f"{path}: lists no picture of the split {TEST_SPLIT!r}.")
    return listed
