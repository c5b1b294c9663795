"""Temperature and confidence threshold of a run, fitted on its held-out faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_train.evaluation import Truth, fit_temperature, scale
from emotion_train.report.confidence import (
    THRESHOLDS,
    Coverage,
    choose_threshold,
    measure_coverage,
)
from emotion_train.report.out_of_fold import (
    FOLDS,
    MIN_FACES,
    assign_folds,
    choose_thresholds,
    fit_temperatures,
)
from emotion_train.report.split_result import IN_SAMPLE, OUT_OF_FOLD, SplitResult


@dataclass(frozen=True, eq=False)
class Calibration:
    """Temperature and threshold, fitted on n held-out faces, and their out-of-fold values.

    Attributes:
        temperature: The temperature for the model file, fitted on all faces.
        threshold: The confidence threshold for the model file, chosen on all faces.
        by_votes: The temperature was fitted to the votes, not the labels.
        by_majority: Thresholds are chosen and measured against the annotators' majority, on faces
            that have one, not against the labels of all faces.
        logits: float32, shape (n, classes).
        truth: The labels for accuracy, int64 (n,); -1 for faces without a majority.
        folds: The fold of each face, (n,); None for too few faces.
        temperatures: The temperature for each face, fitted on the other folds, (n,); without folds
            that of all faces.
        thresholds: The threshold for each face with a label in `truth`, chosen on the other folds.
    """

    temperature: float
    threshold: float
    by_votes: bool
    by_majority: bool
    logits: NDArray[np.float32]
    truth: NDArray[np.int64]
    folds: NDArray[np.int64] | None
    temperatures: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @classmethod
    def fit(
        cls, held_out: Sequence[SplitResult], coverage: float, *, by_votes: bool
    ) -> Calibration:
        """Fit temperature and threshold.

        Args:
            held_out: The held-out splits.
            coverage: Minimum fraction of the held-out faces at or above the threshold, 0.5 to 1.
            by_votes: Fit to the votes; faces without usable ones count by label.
        """
        logits = np.concatenate([one.logits for one in held_out])
        truth = np.concatenate([one.faces.labels for one in held_out])
        targets: Truth = truth
        by_majority = False
        if by_votes:
            targets = _concatenate_votes(held_out, logits.shape[1])
            majority = _concatenate_majorities(held_out)
            by_majority = bool((majority >= 0).sum() >= MIN_FACES)
            truth = majority if by_majority else truth
        temperature = fit_temperature(logits, targets)
        folds = assign_folds([one.faces for one in held_out])
        temperatures = np.full(len(logits), temperature)
        if folds is not None:
            temperatures = fit_temperatures(logits, targets, folds)
        is_known = truth >= 0
        probabilities = softmax(scale(logits[is_known], temperature), axis=1)
        threshold = choose_threshold(probabilities, coverage)
        thresholds = np.full(int(is_known.sum()), threshold)
        if folds is not None:
            thresholds = choose_thresholds(
                logits[is_known], temperatures[is_known], folds[is_known], coverage
            )
        return cls(
            temperature=temperature,
            threshold=threshold,
            by_votes=by_votes,
            by_majority=by_majority,
            logits=logits,
            truth=truth,
            folds=folds,
            temperatures=temperatures,
            thresholds=thresholds,
        )

    @property
    def fitted_on(self) -> str:
        """Return how the temperatures of the held-out faces were fitted."""
        return IN_SAMPLE if self.folds is None else OUT_OF_FOLD

    def describe(self) -> str:
        """Return how temperature and held-out figures were obtained, for the report."""
        targets = "votes" if self.by_votes else "labels"
        method = "in-sample" if self.folds is None else f"out of fold ({FOLDS} folds)"
        return (
            f"fitted to the {targets} of {len(self.logits):,} held-out pictures; calibration error "
            f"and coverage on them are measured {method}"
        )

    def apply(self, held_out: Sequence[SplitResult]) -> list[SplitResult]:
        """Return the splits of `fit` with the out-of-fold temperature of each face."""
        ends = np.cumsum([len(one.faces) for one in held_out])
        parts = np.split(self.temperatures, ends[:-1])
        return [
            replace(one, temperature=part, fitted_on=self.fitted_on)
            for one, part in zip(held_out, parts, strict=True)
        ]

    def measure_thresholds(self, others: Mapping[str, NDArray[np.float32]]) -> list[Coverage]:
        """Return coverage and accuracy at several thresholds, with the chosen one among them.

        Args:
            others: Logits of faces of each unknown class.
        """
        is_known = self.truth >= 0
        scaled = scale(self.logits[is_known], self.temperatures[is_known])
        probabilities = softmax(scaled, axis=1)
        unknown = {name: softmax(scale(x, self.temperature), axis=1) for name, x in others.items()}
        return [
            measure_coverage(
                threshold,
                probabilities,
                self.truth[is_known],
                unknown,
                self.thresholds if threshold == self.threshold else None,
            )
            for threshold in sorted({*THRESHOLDS, self.threshold})
        ]


def _concatenate_votes(held_out: Sequence[SplitResult], classes: int) -> NDArray[np.float32]:
    """Return the soft labels of all faces; one-hot labels for splits without votes."""
    one_hot = np.eye(classes, dtype=np.float32)
    return np.concatenate(
        [one_hot[one.faces.labels] if one.votes is None else one.votes.targets for one in held_out]
    )


def _concatenate_majorities(held_out: Sequence[SplitResult]) -> NDArray[np.int64]:
    """Return the annotators' majority for all faces; -1 for faces without one."""
    return np.concatenate(
        [
            np.full(len(one.faces), -1, np.int64) if one.votes is None else one.votes.majority
            for one in held_out
        ]
    )
