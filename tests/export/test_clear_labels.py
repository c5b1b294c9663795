"""The labels of few classes and of many: which of them a file of fewer bits must keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emotion_export.parity.clear_labels import find_clear_labels
from emotion_export.parity.comparison import GATES, Comparison, ParityError, require_parity

COMPARED = Comparison("int8", "full", 64, 3000, 0.5, 0.1, 0.1, 0.01, 0.985, None, 2500, 0.999)


def test_a_label_is_clear_where_the_next_one_is_far() -> None:
    rows = [[0.5, 0.3, 0.2], [0.44, 0.36, 0.2], [0.1, 0.45, 0.45], [1.0, 0.0, 0.0]]
    assert find_clear_labels(np.array(rows)).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("row", "other", "clear"),
    [
        ([0.9, 0.1], 0.30, True),
        ([0.9, 0.1], 0.46, False),  # near the threshold of other
        ([0.9, 0.1], 0.54, False),
        ([0.5, 0.5], 0.30, False),
        ([0.5, 0.5], 0.80, True),  # labelled other, whatever the order of the labels
    ],
)
def test_other_counts_by_its_threshold(row: list[float], other: float, clear: bool) -> None:
    assert find_clear_labels(np.array([row]), np.array([other]), 0.5).tolist() == [clear]


def test_many_borderline_faces_do_not_refuse_a_good_file_and_clear_ones_do() -> None:
    """As on the seven classes of FER2013: 1.5 % of all labels change, 0.1 % of the clear ones."""
    require_parity([COMPARED], GATES["int8"])
    bad = replace(COMPARED, clear_label_agreement=0.97)
    with pytest.raises(ParityError, match=r"97.00% on 2,500 faces with a clear label \(required"):
        require_parity([bad], GATES["int8"])
    with pytest.raises(ParityError, match=r"98.50% on 3,000 faces \(required 100.00%\)"):
        require_parity([replace(COMPARED, max_logit_difference=0.0)], GATES["fp32"])


def test_where_no_label_is_clear_every_face_counts() -> None:
    with pytest.raises(ParityError, match=r"98.50% on 3,000 faces \(required 99.00%\)"):
        require_parity([replace(COMPARED, clear_faces=0, clear_label_agreement=1.0)], GATES["int8"])
