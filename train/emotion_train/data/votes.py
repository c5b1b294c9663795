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

from emotion_train.data.faces import Faces
from emotion_train.errors import DataError

# FER+ (Barsoum et al., 2016) says nouns where FER2013's folders say adjectives.
_FERPLUS = {
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
}
_NO_VOTE = ("path", "ambiguous")
_NO_FACE = ("unknown", "not_a_face")
_FERPLUS_COLUMNS = frozenset(
    ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
)
_MOST_VOTES = 10**9


@dataclass(frozen=True)
class _Row:
    """The votes for one picture: for each class, for each other thing, for no usable face."""

    classes: tuple[int, ...]
    others: tuple[int, ...]
    no_face: int

    @property
    def total(self) -> int:
        return sum(self.classes) + sum(self.others)


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """What annotators saw in some faces, n of them, for a network to be measured against.

    Attributes:
        targets: float32 (n, classes), rows that add up to 1: the votes for the classes; all on
            the label where there are no usable votes.
        majority: int64 (n,): what more than half of all votes name; -1 where that is no class.
        listed: Faces that the votes file lists.
        fallback: Faces without usable votes: not listed, for none of the classes, or for no face
            by most annotators.
    """

    targets: NDArray[np.float32]
    majority: NDArray[np.int64]
    listed: int
    fallback: int


class Votes:
    """A votes file, read for some classes.

    Args:
        path: The CSV.
        classes: Class names in label order.

    Attributes:
        uncommon: Columns that are neither a class nor one of FER+: each is counted as a vote for
            something else.

    Raises:
        DataError: The file is missing or malformed.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        self._path = path
        self._rows: dict[str, _Row] = {}
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: not a regular file, so no votes file.")
        line = 1
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                header = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
                columns = [_FERPLUS.get(name, name) for name in classes]
                columns = [c if c in header else n for c, n in zip(columns, classes, strict=True)]
                lacking = [name for name in ("path", *columns) if name not in header]
                if lacking:
                    raise DataError(f"{path}: lacks the column {', '.join(lacking)}.")
                if len(set(columns)) < len(columns):
                    shared = next(name for name in columns if columns.count(name) > 1)
                    both = [n for c, n in zip(columns, classes, strict=True) if c == shared]
                    raise DataError(
                        f"{path}: the classes {' and '.join(both)} are both the column {shared}."
                    )
                if doubled := [name for name in header if header.count(name) > 1]:
                    raise DataError(f"{path}: has the column {doubled[0]} twice.")
                cast = [name for name in header if name not in _NO_VOTE]
                known = {*columns, *_FERPLUS_COLUMNS, *_NO_FACE}
                self.uncommon = tuple(name for name in cast if name not in known)
                self._others = tuple(name for name in cast if name not in columns)
                for row in reader:
                    line = reader.line_num
                    counts = {name: int(row[name]) for name in cast}
                    if not 0 <= min(counts.values()) <= max(counts.values()) <= _MOST_VOTES:
                        raise ValueError("no number of votes")
                    if row["path"] in self._rows:
                        raise DataError(f"{path}, row {line}: lists {row['path']} a second time.")
                    self._rows[row["path"]] = _Row(
                        tuple(counts[name] for name in columns),
                        tuple(counts[name] for name in self._others),
                        sum(counts.get(name, 0) for name in _NO_FACE if name not in columns),
                    )
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not a CSV in UTF-8.") from error
        except (TypeError, ValueError, csv.Error) as error:
            raise DataError(
                f"{path}, row {line}: not all votes are numbers of votes (0, 1, …)."
            ) from error

    def lists(self, faces: Faces) -> NDArray[np.bool_]:
        """Return for each face whether the file lists it; bool, shape (n,)."""
        return np.array([name in self._rows for name in faces.names], np.bool_)

    def count_dropped(self, faces: Faces) -> tuple[int, dict[str, int]]:
        """Count the votes on some faces: all of them, and those for none of the classes by name."""
        rows = [row for row in (self._rows.get(name) for name in faces.names) if row is not None]
        others = {
            name: sum(row.others[place] for row in rows) for place, name in enumerate(self._others)
        }
        dropped = {name: count for name, count in others.items() if count}
        return sum(row.total for row in rows), dropped

    def soften(self, faces: Faces, classes: int) -> SoftLabels:
        """Return what a network is measured against where it is taught by votes.

        Unlike `targets` and `majority`, it takes faces of which the file lists none.

        Args:
            faces: The faces.
            classes: How many classes there are.
        """
        targets = np.eye(classes, dtype=np.float32)[faces.labels]
        majority = np.full(len(faces), -1, np.int64)
        listed = self.lists(faces)
        fallback = ~listed
        if listed.any():
            votes = self.targets(faces)
            fallback = np.isnan(votes[:, 0]) | ~self.shows_face(faces) | ~listed
            targets[~fallback] = votes[~fallback]
            majority = self.majority(faces)
        return SoftLabels(targets, majority, int(listed.sum()), int(fallback.sum()))

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
