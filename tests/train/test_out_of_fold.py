"""Temperature and threshold are evaluated on other faces than they were chosen on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from emotion_train.data.faces import Faces
from emotion_train.data.votes import SoftLabels
from emotion_train.evaluation import (
    compute_calibration_error,
    fit_temperature,
    measure_reliability,
)
from emotion_train.report.calibration import Calibration
from emotion_train.report.out_of_fold import (
    FOLDS,
    assign_folds,
    choose_thresholds,
    fit_temperatures,
)
from emotion_train.report.split_result import IN_SAMPLE, OUT_OF_FOLD, SplitResult


def faces_of(labels: NDArray[np.int64], seed: int = 0) -> Faces:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 4, 4)).astype(np.uint8)
    return Faces(pixels, labels, tuple(f"{n}.png" for n in range(len(labels))))


def draw(count: int, sharpness: float, seed: int = 0) -> tuple[Faces, NDArray[np.float32]]:
    """Draw labels from probabilities, and return overconfident logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in chances], np.int64)
    return faces_of(labels, seed), (sharpness * logits).astype(np.float32)


def test_folds_spread_the_classes_and_keep_copies_together() -> None:
    faces = faces_of(np.repeat(np.arange(3), 40))
    twice = faces.take(np.tile(np.arange(120), 2))
    folds = assign_folds([twice])
    assert folds is not None
    assert np.array_equal(folds[:120], folds[120:])
    for label in range(3):
        counts = np.bincount(folds[twice.labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 2
    parts = assign_folds([faces, faces])
    assert parts is not None
    assert np.array_equal(parts, folds)
    assert assign_folds([faces.take(np.arange(49))]) is None


def test_the_temperature_of_a_fold_is_fitted_on_the_others() -> None:
    faces, logits = draw(300, 3.0)
    folds = assign_folds([faces])
    assert folds is not None
    temperatures = fit_temperatures(logits, faces.labels, folds)
    for fold in range(FOLDS):
        others = folds != fold
        expected = fit_temperature(logits[others], faces.labels[others])
        assert np.all(temperatures[~others] == expected)
    assert len(set(temperatures)) == FOLDS


def test_a_threshold_is_chosen_on_the_other_faces() -> None:
    logits = np.zeros((4, 2), np.float32)
    logits[:, 0] = np.log([9, 4, 1.5, 1.1])  # confidences 0.90, 0.80, 0.60 and 0.52
    thresholds = choose_thresholds(logits, np.ones(4), np.array([0, 0, 1, 1]), 0.5)
    assert thresholds.tolist() == pytest.approx([0.56, 0.56, 0.85, 0.85], abs=0.011)


@pytest.mark.parametrize(("count", "how"), [(400, OUT_OF_FOLD), (30, IN_SAMPLE)])
def test_held_out_figures_name_the_faces_of_the_temperature(count: int, how: str) -> None:
    faces, logits = draw(count, 3.0)
    one = SplitResult("validation", faces, logits)
    fitted = Calibration.fit([one], 0.9, by_votes=False)
    (spread,) = fitted.apply([one])
    figures = spread.to_dict(("a", "b", "c"))
    assert figures["calibration"] == how
    assert fitted.temperature == fit_temperature(logits, faces.labels)
    assert figures["calibration_error"] < figures["calibration_error_before"]
    assert ("in-sample" in fitted.describe()) == (how == IN_SAMPLE)
    accuracy = float((logits.argmax(axis=1) == faces.labels).mean())
    assert figures["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_coverage_of_the_chosen_threshold_is_measured_out_of_fold() -> None:
    faces, logits = draw(400, 1.0)
    fitted = Calibration.fit([SplitResult("validation", faces, logits)], 0.9, by_votes=False)
    rows = fitted.measure_thresholds({})
    chosen = next(row for row in rows if row.min_confidence == fitted.threshold)
    assert chosen.coverage == pytest.approx(0.9, abs=0.03)
    assert chosen.faces[0] == 400
    assert chosen.to_dict()["accuracy_interval"][0] < chosen.accuracy
    assert rows[0].coverage == 1


def test_votes_in_the_targets_also_choose_temperature_and_threshold() -> None:
    """Labels that contradict the votes do not make the network appear overconfident."""
    faces, logits = draw(400, 1.0)
    votes = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    winners = np.where(votes.max(axis=1) > 0.5, votes.argmax(axis=1), -1)
    wrong = Faces(faces.pixels, (faces.labels + 1) % 3, faces.names)
    soft = SoftLabels(votes.astype(np.float32), winners, 400, 0)
    one = SplitResult("hold-out", wrong, logits, soft)
    fitted = Calibration.fit([one], 0.9, by_votes=True)
    assert fitted.temperature == pytest.approx(1.0, abs=0.01)
    assert fitted.by_majority
    assert fitted.measure_thresholds({})[0].faces == (int((winners >= 0).sum()),) * 2
    assert Calibration.fit([one], 0.9, by_votes=False).temperature > 5
    (spread,) = fitted.apply([one])
    agreed = spread.to_dict(("a", "b", "c"))["annotators_agree"]
    assert agreed["pictures"] == (winners >= 0).sum()
    assert agreed["accuracy"] == 1.0
    assert agreed["votes_calibration_error"] == pytest.approx(0, abs=0.02)
    few = SoftLabels(soft.targets, np.where(np.arange(400) < 40, winners, -1), 400, 0)
    other = Calibration.fit([SplitResult("hold-out", wrong, logits, few)], 0.9, by_votes=True)
    assert not other.by_majority  # too few to choose a threshold on
    assert other.temperature == fitted.temperature


def test_the_reliability_diagram_has_the_bins_of_the_calibration_error() -> None:
    chances = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 0])
    one = measure_reliability(chances, labels)
    assert one.pictures.sum() == 4
    assert one.pictures[13] == one.pictures[9] == 2
    assert one.right[13] == 1
    assert one.error == pytest.approx(compute_calibration_error(chances, labels))
    soft = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert measure_reliability(chances, soft).error == pytest.approx(0)
