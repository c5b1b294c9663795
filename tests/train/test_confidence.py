from __future__ import annotations

import math

import numpy as np
import pytest

from emotion_train.report.confidence import choose_threshold, measure_coverage
from emotion_train.report.tables import format_confidence_table

CHANCES = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.55, 0.45]])
LABELS = np.array([0, 1, 1, 0])


def test_a_threshold_by_hand() -> None:
    others = {"neutral": np.array([[0.5, 0.5], [0.95, 0.05]]), "none": np.empty((0, 2))}
    row = measure_coverage(0.65, CHANCES, LABELS, others)
    assert row.coverage == 0.5
    assert row.accuracy == 1.0
    assert row.others == {"neutral": 0.5}
    assert measure_coverage(0.0, CHANCES, LABELS, {}).accuracy == 0.75


def test_a_threshold_above_all_confidences_has_no_accuracy() -> None:
    row = measure_coverage(0.99, CHANCES, LABELS, {})
    assert math.isnan(row.accuracy)
    assert row.to_dict()["accuracy"] is None


def test_the_threshold_has_the_wanted_coverage() -> None:
    chances = np.stack([np.linspace(0.5, 1, 1001), np.linspace(0.5, 0, 1001)], axis=1)
    threshold = choose_threshold(chances, 0.9)
    assert threshold == pytest.approx(0.55)
    assert measure_coverage(threshold, chances, np.zeros(1001, np.int64), {}).coverage >= 0.9
    assert choose_threshold(chances, 1.0) == 0


@pytest.mark.parametrize("key", ["min_confidence", "floor"])
def test_rows_of_earlier_reports_are_read(key: str) -> None:
    row = {key: 0.5, "coverage": 0.875, "accuracy": 0.9, "others": {"neutral": 0.25}}
    table = format_confidence_table([row])
    assert table[2] == "| confidence threshold | coverage | accuracy | coverage of neutral |"
    assert table[-1] == "| 0.50 | 87.5% | 90.0% | 25.0% |"
