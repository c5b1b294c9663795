"""Annotators' votes for each picture, as in FER+.

A votes file is a CSV with the column ``path``, relative to the data folder, and one column of
counts per choice that annotators had; ``ambiguous`` does not count as a vote.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.errors import DataError

# FER+ (Barsoum et al., 2016) uses nouns where FER2013's folders use adjectives.
_FERPLUS_NAMES = {
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
}
_NO_VOTE_COLUMNS = ("path", "ambiguous")
_NO_FACE_COLUMNS = ("unknown", "not_a_face")
_FERPLUS_COLUMNS = frozenset(
    ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
)
_MAX_VOTES = 10**9


@dataclass(frozen=True)
class _Row:
    """The votes for one picture: by class, by other choice, and for no usable face."""

    classes: tuple[int, ...]
    others: tuple[int, ...]
    no_face: int

    @property
    def total(self) -> int:
        return sum(self.classes) + sum(self.others)


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """Soft labels of n faces, from annotators' votes, to measure a network against.

    Attributes:
        targets: float32 (n, classes), with rows that sum to 1: the shares of the votes for each
            class, or the label alone if there are no usable votes.
        majority: int64 (n,), the class with more than half of all votes; -1 if there is none.
        listed: Number of faces in the votes file.
        fallback: Number of faces without usable votes: not in the file, without a vote for any
            class, or without a usable face for most annotators.
    """

    targets: NDArray[np.float32]
    majority: NDArray[np.int64]
    listed: int
    fallback: int


class Votes:
    """The votes of a file for the classes of a run.

    Args:
        path: The CSV.
        classes: Class names in label order.

    Attributes:
        other_columns: Columns that are neither a class nor one of FER+; they count as votes for
            something else.

    Raises:
        DataError: The file is missing or malformed.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        self._path = path
        self._rows: dict[str, _Row] = {}
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: not a regular file, so no votes file.")
        self._line = 1
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                self._read(csv.DictReader(file), classes)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not a CSV in UTF-8.") from error
        except (TypeError, ValueError, csv.Error) as error:
            raise DataError(
                f"{path}, row {self._line}: not all votes are numbers of votes (0, 1, …)."
            ) from error

    def _read(self, reader: csv.DictReader[str], classes: tuple[str, ...]) -> None:
        path = self._path
        header = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        columns = self._choose_columns(header, classes)
        vote_columns = [name for name in header if name not in _NO_VOTE_COLUMNS]
        known = {*columns, *_FERPLUS_COLUMNS, *_NO_FACE_COLUMNS}
        self.other_columns = tuple(name for name in vote_columns if name not in known)
        self._others = tuple(name for name in vote_columns if name not in columns)
        no_face = [name for name in _NO_FACE_COLUMNS if name not in columns]
        for row in reader:
            self._line = reader.line_num
            counts = {name: int(row[name]) for name in vote_columns}
            if not 0 <= min(counts.values()) <= max(counts.values()) <= _MAX_VOTES:
                raise ValueError("no number of votes")
            if row["path"] in self._rows:
                raise DataError(f"{path}, row {self._line}: lists {row['path']} a second time.")
            self._rows[row["path"]] = _Row(
                classes=tuple(counts[name] for name in columns),
                others=tuple(counts[name] for name in self._others),
                no_face=sum(counts.get(name, 0) for name in no_face),
            )

    def _choose_columns(self, header: list[str], classes: tuple[str, ...]) -> list[str]:
        """Return the column of each class.

        Raises:
            DataError: A column is missing, is there twice, or is that of two classes.
        """
        columns = []
        for name in classes:
            alias = _FERPLUS_NAMES.get(name, name)
            columns.append(alias if alias in header else name)
        missing = [name for name in ("path", *columns) if name not in header]
        if missing:
            raise DataError(f"{self._path}: lacks the column {', '.join(missing)}.")
        if len(set(columns)) < len(columns):
            shared = next(name for name in columns if columns.count(name) > 1)
            both = [name for column, name in zip(columns, classes, strict=True) if column == shared]
            raise DataError(
                f"{self._path}: the classes {' and '.join(both)} are both the column {shared}."
            )
        if repeated := [name for name in header if header.count(name) > 1]:
            raise DataError(f"{self._path}: has the column {repeated[0]} twice.")
        return columns

    def find_listed(self, faces: Faces) -> NDArray[np.bool_]:
        """Return which faces are in the file, bool, shape (n,)."""
        return np.array([name in self._rows for name in faces.names], np.bool_)

    def require_some(self, *splits: Faces) -> None:
        """Check that the votes are those of these pictures.

        Raises:
            DataError: None of the faces of any split is in the file.
        """
        if not any(self.find_listed(faces).any() for faces in splits):
            first = next(name for faces in splits for name in faces.names)
            raise DataError(f"{self._path}: lists none of the pictures (such as {first}).")

    def count_dropped(self, faces: Faces) -> tuple[int, dict[str, int]]:
        """Return the number of votes for some faces, and those for no class of the run by name."""
        rows = [row for row in (self._rows.get(name) for name in faces.names) if row is not None]
        others = {
            name: sum(row.others[index] for row in rows) for index, name in enumerate(self._others)
        }
        dropped = {name: count for name, count in others.items() if count}
        return sum(row.total for row in rows), dropped

    def make_soft_labels(self, faces: Faces, classes: int) -> SoftLabels:
        """Return the soft labels of faces; those without usable votes fall back to their label.

        Unlike `compute_targets` and `find_majority`, it accepts faces of which none is in the file.

        Args:
            faces: The faces.
            classes: Number of classes.
        """
        targets = np.eye(classes, dtype=np.float32)[faces.labels]
        majority = np.full(len(faces), -1, np.int64)
        listed = self.find_listed(faces)
        fallback = ~listed
        if listed.any():
            votes = self.compute_targets(faces)
            fallback = np.isnan(votes[:, 0]) | ~self.find_usable(faces) | ~listed
            targets[~fallback] = votes[~fallback]
            majority = self.find_majority(faces)
        return SoftLabels(targets, majority, int(listed.sum()), int(fallback.sum()))

    def find_majority(self, faces: Faces) -> NDArray[np.int64]:
        """Return the class with a strict majority of all votes, for each face.

        Returns:
            int64, shape (n,): a label, or -1 if no class has more than half of the votes or the
            face is not in the file.

        Raises:
            DataError: None of the faces is in the file.
        """
        labels = []
        for row in self._find_rows(faces):
            winners = [] if row is None else [2 * count > row.total for count in row.classes]
            labels.append(winners.index(True) if any(winners) else -1)
        return np.array(labels, np.int64)

    def find_none_of_classes(self, faces: Faces) -> NDArray[np.bool_]:
        """Return for which faces a strict majority of all votes is for none of the classes.

        Returns:
            bool, shape (n,); False for faces that are not in the file.

        Raises:
            DataError: None of the faces is in the file.
        """
        is_none = [
            row is not None and 2 * sum(row.others) > row.total for row in self._find_rows(faces)
        ]
        return np.array(is_none, np.bool_)

    def compute_targets(self, faces: Faces) -> NDArray[np.float32]:
        """Return the distribution of the votes over the classes, for each face.

        Returns:
            float32, shape (n, classes), with rows that sum to 1, or rows of NaN for faces without a
            vote for any class and faces that are not in the file.

        Raises:
            DataError: None of the faces is in the file.
        """
        shares = []
        for row in self._find_rows(faces):
            known = row is not None and sum(row.classes) > 0
            shares.append(np.array(row.classes) / sum(row.classes) if known and row else np.nan)
        width = len(next(iter(self._rows.values())).classes)
        return np.stack([np.broadcast_to(share, width) for share in shares]).astype(np.float32)

    def find_usable(self, faces: Faces) -> NDArray[np.bool_]:
        """Return which faces are usable: at most half of the votes are for no face or unknown.

        Raises:
            DataError: None of the faces is in the file.
        """
        rows = self._find_rows(faces)
        return np.array([row is None or 2 * row.no_face <= row.total for row in rows], np.bool_)

    def _find_rows(self, faces: Faces) -> list[_Row | None]:
        rows = [self._rows.get(name) for name in faces.names]
        if not any(rows):
            raise DataError(f"{self._path}: lists none of the pictures (such as {faces.names[0]}).")
        return rows
