"""Votes: what several annotators said of each picture, as FER+ gives them.

The file is a CSV with the column ``path``, relative to the data folder, and one column of counts
for each thing an annotator could say; ``ambiguous`` is not a vote.
"""

from __future__ import annotations

import csv
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


def majority_labels(votes: Path, faces: Faces, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Find what a strict majority of all votes names, for each face.

    Returns:
        int64, shape (n,): a label, or -1 where no class has more than half of the votes, or the
        file does not list the face.

    Raises:
        DataError: The file is missing, malformed, or lists none of the faces.
    """
    majority: dict[str, int] = {}
    try:
        with votes.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            columns = [_FERPLUS.get(name, name) for name in classes]
            columns = [c if c in header else n for c, n in zip(columns, classes, strict=True)]
            lacking = [name for name in ("path", *columns) if name not in header]
            if lacking:
                raise DataError(f"{votes}: lacks the column {', '.join(lacking)}.")
            cast = [name for name in header if name not in _NO_VOTE]
            for row in reader:
                counts = {name: int(row[name]) for name in cast}
                half = sum(counts.values()) / 2
                winners = [i for i, name in enumerate(columns) if counts[name] > half]
                majority[row["path"]] = winners[0] if winners else -1
    except OSError as error:
        raise DataError(f"{votes}: cannot be read ({error.strerror}).") from error
    except (TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{votes}, row {reader.line_num}: not all votes are numbers.") from error
    if not any(name in majority for name in faces.names):
        raise DataError(f"{votes}: lists none of the pictures (such as {faces.names[0]}).")
    return np.array([majority.get(name, -1) for name in faces.names], np.int64)
