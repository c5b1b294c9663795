from __future__ import annotations

import numpy as np
import pytest

from emotion_train.evaluation import compute_calibration_error, fit_temperature, measure
from emotion_train.report.tables import list_calibration_warnings

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])


def test_figures_by_hand() -> None:
    logits = np.eye(3, dtype=np.float32)[PREDICTED] * 5
    metrics = measure(logits, LABELS)
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert metrics.precision.tolist() == pytest.approx([2 / 3, 2 / 3, 0])
    assert metrics.recall.tolist() == pytest.approx([2 / 3, 1, 0])
    assert metrics.balanced_accuracy == pytest.approx(5 / 9)
    assert metrics.support.tolist() == [3, 2, 1]


def test_calibration_error_by_hand() -> None:
    chances = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    # two at 0.9, one right: gap 0.4; two at 0.6, both right: gap 0.4
    assert compute_calibration_error(chances, np.array([0, 1, 0, 0])) == pytest.approx(0.4)
    assert compute_calibration_error(np.eye(2), np.array([0, 1])) == 0


@pytest.mark.parametrize("right", [True, False])
def test_a_temperature_that_the_faces_do_not_determine_causes_a_warning(right: bool) -> None:
    """If all held-out faces are right, or all wrong, any temperature fits."""
    labels = np.arange(30) % 3
    logits = np.eye(3, dtype=np.float32)[labels] * (1 if right else -1)
    figures = {"temperature": fit_temperature(logits, labels), "validation": {"pictures": 30}}
    (warning,) = list_calibration_warnings(figures)
    assert "the 30 held-out pictures do not determine" in warning
    assert not list_calibration_warnings({**figures, "temperature": 1.2})


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in chances])
    assert fit_temperature((logits * 3).astype(np.float32), labels) == pytest.approx(3, rel=0.1)
