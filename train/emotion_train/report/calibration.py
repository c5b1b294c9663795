"""Temperature and confidence threshold of a run, fitted on its held-out faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_train.evaluation import fit_temperature, scale
from emotion_train.report.confidence import THRESHOLDS, Coverage, choose_threshold, measure_coverage
from emotion_train.report.out_of_fold import (
    FEWEST_FACES,
    FOLDS,
    assign_folds,
    choose_thresholds,
    fit_temperatures,
)
from emotion_train.report.split_result import IN_SAMPLE, OUT_OF_FOLD, SplitResult


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was fitted on the held-out faces, n of them, and how it does on faces it did not see.

    Attributes:
        temperature: Calibration on all of them, for the model file.
        threshold: The confidence threshold, chosen on all of them, for the model file.
        by_votes: The temperature was fitted to the votes, not the labels.
        by_majority: Thresholds are chosen and measured on the faces for which a majority of
            annotators names a class, not on all by their labels.
        logits: float32, shape (n, classes).
        truth: What accuracy compares with, int64 (n,): -1 for faces that no threshold is chosen on.
        folds: The fold of each face, (n,); None for too few faces.
        temperatures: For each face the temperature of the other folds, (n,); without folds that of
            all.
        thresholds: For each face whose truth is a label the threshold of the other folds.
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
    def of(cls, held_out: Sequence[SplitResult], coverage: float, *, by_votes: bool) -> Calibration:
        """Fit temperature and threshold.

        Args:
            held_out: The splits that were held out of training.
            coverage: Part of the held-out faces that must reach the threshold, 0.5 to 1.
            by_votes: Fit to the votes, where a face has usable ones.
        """
        logits = np.concatenate([one.logits for one in held_out])
        labels = np.concatenate([one.faces.labels for one in held_out])
        soft = labels
        if by_votes:
            eye = np.eye(logits.shape[1], dtype=np.float32)
            soft = np.concatenate(
                [
                    eye[one.faces.labels] if one.votes is None else one.votes.targets
                    for one in held_out
                ]
            )
        truth, by_majority = labels, False
        if by_votes:
            none = [np.full(len(one.faces), -1, np.int64) for one in held_out]
            majority = np.concatenate(
                [
                    nothing if one.votes is None else one.votes.majority
                    for one, nothing in zip(held_out, none, strict=True)
                ]
            )
            by_majority = bool((majority >= 0).sum() >= FEWEST_FACES)
            truth = majority if by_majority else labels
        temperature = fit_temperature(logits, soft)
        folds = assign_folds([one.faces for one in held_out])
        temperatures = np.full(len(logits), temperature)
        if folds is not None:
            temperatures = fit_temperatures(logits, soft, folds)
        known = truth >= 0
        chances = softmax(scale(logits[known], temperature), axis=1)
        threshold = choose_threshold(chances, coverage)
        thresholds = np.full(int(known.sum()), threshold)
        if folds is not None:
            thresholds = choose_thresholds(
                logits[known], temperatures[known], folds[known], coverage
            )
        return cls(
            temperature,
            threshold,
            by_votes,
            by_majority,
            logits,
            truth,
            folds,
            temperatures,
            thresholds,
        )

    @property
    def how(self) -> str:
        """Return how figures on the held-out faces know the temperature."""
        return IN_SAMPLE if self.folds is None else OUT_OF_FOLD

    def describe(self) -> str:
        """Return on what was fitted, and how the held-out figures were measured."""
        what = "votes" if self.by_votes else "labels"
        how = "in-sample" if self.folds is None else f"out of fold ({FOLDS} folds)"
        return (
            f"fitted to the {what} of {len(self.logits):,} held-out pictures; calibration error "
            f"and coverage on them are measured {how}"
        )

    def spread(self, held_out: Sequence[SplitResult]) -> list[SplitResult]:
        """Return the splits that this was fitted on, with the temperature of each face."""
        ends = np.cumsum([len(one.faces) for one in held_out])
        parts = np.split(self.temperatures, ends[:-1])
        return [
            replace(one, temperature=part, fitted=self.how)
            for one, part in zip(held_out, parts, strict=True)
        ]

    def measure_thresholds(self, others: Mapping[str, NDArray[np.float32]]) -> list[Coverage]:
        """Measure confidence thresholds on the held-out faces, the chosen one among them.

        Args:
            others: Logits of faces of each class that the network does not know.
        """
        known = self.truth >= 0
        chances = softmax(scale(self.logits[known], self.temperatures[known]), axis=1)
        unknown = {name: softmax(scale(x, self.temperature), axis=1) for name, x in others.items()}
        return [
            measure_coverage(
                one,
                chances,
                self.truth[known],
                unknown,
                self.thresholds if one == self.threshold else None,
            )
            for one in sorted({*THRESHOLDS, self.threshold})
        ]
