from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emotion_train.errors import DataError
from emotion_train.faces import Faces
from emotion_train.votes import majority_labels
from synthetic import CLASSES, band_face

HEADER = "path,neutral,happiness,surprise,sadness,unknown,ambiguous\n"


def faces() -> Faces:
    names = tuple(f"test/happy/{number}.jpg" for number in range(5))
    return Faces(np.stack([band_face(0)] * 5), np.zeros(5, np.int64), names)


def test_a_strict_majority_of_all_votes_decides(tmp_path: Path) -> None:
    votes = tmp_path / "votes.csv"
    votes.write_text(
        HEADER
        + "test/happy/0.jpg,0,10,0,0,0,0\n"  # happy
        + "test/happy/1.jpg,0,2,6,0,2,1\n"  # surprise; `ambiguous` is no vote
        + "test/happy/2.jpg,0,5,5,0,0,0\n"  # a tie
        + "test/happy/3.jpg,6,4,0,0,0,0\n"  # neutral is none of ours
    )
    assert majority_labels(votes, faces(), CLASSES).tolist() == [0, 2, -1, -1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "lacks the column path, happy"),
        (HEADER + "test/happy/0.jpg,x,1,1,1,1,0\n", "row 2: not all votes are numbers"),
        (HEADER + "other/0.jpg,1,1,1,1,1,0\n", "lists none of the pictures"),
    ],
)
def test_a_bad_votes_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "votes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        majority_labels(tmp_path / "votes.csv", faces(), CLASSES)


def test_a_missing_votes_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        majority_labels(tmp_path / "gone.csv", faces(), CLASSES)
