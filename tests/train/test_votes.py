from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.errors import DataError
from synthetic import CLASSES, band_face

HEADER = "path,neutral,happiness,surprise,sadness,unknown,not_a_face,ambiguous\n"


def faces() -> Faces:
    names = tuple(f"test/happy/{number}.jpg" for number in range(6))
    return Faces(np.stack([band_face(0)] * 6), np.zeros(6, np.int64), names)


@pytest.fixture
def votes(tmp_path: Path) -> Votes:
    path = tmp_path / "votes.csv"
    path.write_text(
        HEADER
        + "test/happy/0.jpg,0,10,0,0,0,0,0\n"  # happy
        + "test/happy/1.jpg,0,2,6,0,2,0,1\n"  # surprise; `ambiguous` is no vote
        + "test/happy/2.jpg,0,5,5,0,0,0,0\n"  # a tie
        + "test/happy/3.jpg,10,0,0,0,0,0,0\n"  # neutral is not a class
        + "test/happy/4.jpg,0,2,0,0,3,5,0\n"  # not a face by majority; 5 is not listed
    )
    return Votes(path, CLASSES)


def test_a_strict_majority_of_all_votes_decides(votes: Votes) -> None:
    assert votes.find_majority(faces()).tolist() == [0, 2, -1, -1, -1, -1]


def test_targets_are_the_shares_of_the_votes(votes: Votes) -> None:
    targets = votes.compute_targets(faces())
    expected = [[1, 0, 0], [0.25, 0, 0.75], [0.5, 0, 0.5], [np.nan] * 3, [1, 0, 0], [np.nan] * 3]
    np.testing.assert_allclose(targets, np.array(expected, np.float32))


def test_pictures_with_a_majority_for_no_face_are_left_out(votes: Votes) -> None:
    assert votes.find_usable(faces()).tolist() == [True, True, True, True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "lacks the column path, happy"),
        (HEADER + "test/happy/0.jpg,x,1,1,1,1,0,0\n", "row 2: not all votes are numbers"),
    ],
)
def test_a_bad_votes_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "votes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        Votes(tmp_path / "votes.csv", CLASSES)


def test_a_votes_file_of_other_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(HEADER + "other/0.jpg,1,1,1,1,1,0,0\n")
    with pytest.raises(DataError, match="lists none of the pictures"):
        Votes(tmp_path / "votes.csv", CLASSES).find_majority(faces())


def test_a_missing_votes_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Votes(tmp_path / "gone.csv", CLASSES)
