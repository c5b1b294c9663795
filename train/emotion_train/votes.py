"""Votes: what several annotators said of each picture, as FER+ gives them.

The file is a CSV with the column ``path``, relative to the data folder, and one column of counts
for each thing an annotator could say; ``ambiguous`` is not a vote.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_train.errors import DataError
from emotion_train.faces import Faces

# FER+ (Barsoum et al., 2016) says nouns where FER2013's folders say adjectives.
_FERPLUS = {
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
}
_NO_VOTE = ("path", "ambiguous")
_NO_FACE = ("unknown", "not_a_face")


@dataclass(frozen=True)
class _Row:
    """The votes for one picture: for each class, for no usable face, and all."""

    classes: tuple[int, ...]
    no_face: int
    total: int


class Votes:
    """A votes file, read for some classes.

    Args:
        path: The CSV.
        classes: Class names in label order.

    Raises:
        DataError: The file is missing or malformed.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        self._path = path
        self._rows: dict[str, _Row] = {}
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                header = list(reader.fieldnames or ())
                columns = [_FERPLUS.get(name, name) for name in classes]
                columns = [c if c in header else n for c, n in zip(columns, classes, strict=True)]
                lacking = [name for name in ("path", *columns) if name not in header]
                if lacking:
                    raise DataError(f"{path}: lacks the column {', '.join(lacking)}.")
                cast = [name for name in header if name not in _NO_VOTE]
                for row in reader:
                    counts = {name: int(row[name]) for name in cast}
                    self._rows[row["path"]] = _Row(
                        tuple(counts[name] for name in columns),
                        sum(counts.get(name, 0) for name in _NO_FACE),
                        sum(counts.values()),
                    )
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        except (TypeError, ValueError, csv.Error) as error:
            raise DataError(f"{path}, row {reader.line_num}: not all votes are numbers.") from error

    def majority(self, faces: Faces) -> NDArray[np.int64]:
        """Find what a strict majority of all votes names, for each face.

        Returns:
            int64, shape (n,): a label, or -1 where no class has more than half of the votes, or
            the file does not list the face.

        Raises:
            DataError: The file lists none of the faces.
        """
        labels = []
        for row in self._rows_of(faces):
            winners = [] if row is None else [2 * count > row.total for count in row.classes]
            labels.append(winners.index(True) if any(winners) else -1)
        return np.array(labels, np.int64)

    def targets(self, faces: Faces) -> NDArray[np.float32]:
        """Give the annotators' distribution over the classes, for each face.

        Returns:
            float32, shape (n, classes), rows that add up to 1; NaN where nobody named a class, or
            the file does not list the face.

        Raises:
            DataError: The file lists none of the faces.
        """
        shares = []
        for row in self._rows_of(faces):
            known = row is not None and sum(row.classes) > 0
            shares.append(np.array(row.classes) / sum(row.classes) if known and row else np.nan)
        width = len(next(iter(self._rows.values())).classes)
        return np.stack([np.broadcast_to(share, width) for share in shares]).astype(np.float32)

    def shows_face(self, faces: Faces) -> NDArray[np.bool_]:
        """Say for each face whether at most half of the annotators saw no face, or could not tell.

        Raises:
            DataError: The file lists none of the faces.
        """
        rows = self._rows_of(faces)
        return np.array([row is None or 2 * row.no_face <= row.total for row in rows], np.bool_)

    def _rows_of(self, faces: Faces) -> list[_Row | None]:
        rows = [self._rows.get(name) for name in faces.names]
        if not any(rows):
            raise DataError(f"{self._path}: lists none of the pictures (such as {faces.names[0]}).")
        return rows
