"""The predictions of a network for one split, and their comparison with labels or votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_runtime.evaluate.metrics import Metrics
from emotion_train.data.faces import Faces
from emotion_train.data.votes import SoftLabels
from emotion_train.evaluation import (
    Reliability,
    cross_entropy,
    measure,
    measure_reliability,
    scale,
)

SPLIT_NAMES = ("test", "hold-out", "validation")

# On which faces the temperature was fitted.
INDEPENDENT = "on other faces"
OUT_OF_FOLD = "out of fold"
IN_SAMPLE = "in-sample"


@dataclass(frozen=True, eq=False)
class SplitResult:
    """The logits of a network for one split.

    Attributes:
        split: The name of the split in the report.
        faces: The faces, n of them.
        logits: float32, shape (n, classes).
        votes: The soft labels of the faces; None without votes for them.
        unreadable: Number of pictures that could not be read, and are not measured.
        temperature: Divisor of the logits: one number, or one per face, shape (n,).
        fitted_on: `INDEPENDENT`, `OUT_OF_FOLD` or `IN_SAMPLE`.
    """

    split: str
    faces: Faces
    logits: NDArray[np.float32]
    votes: SoftLabels | None = None
    unreadable: int = 0
    temperature: float | NDArray[np.float64] = 1.0
    fitted_on: str = INDEPENDENT

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Return the calibrated probabilities, (n, classes)."""
        probabilities: NDArray[np.float64] = softmax(scale(self.logits, self.temperature), axis=1)
        return probabilities

    def choose_truth(self, *, by_votes: bool) -> NDArray[np.int64]:
        """Return the labels for the main figures, int64 (n,); -1 for faces to leave out.

        Args:
            by_votes: Use the annotators' majority, if any face has one.
        """
        if by_votes and self.votes is not None and (self.votes.majority >= 0).any():
            return self.votes.majority
        return self.faces.labels

    def measure(self, truth: NDArray[np.int64]) -> Metrics:
        """Return the metrics of the faces whose truth is not -1."""
        is_known = truth >= 0
        return measure(self.logits[is_known], truth[is_known], self._select_temperature(is_known))

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the figures against the labels and, if there are votes, against these."""
        figures = self.measure(self.faces.labels).to_dict(classes)
        figures["calibration"] = self.fitted_on
        figures["calibration_error_before"] = round(
            measure(self.logits, self.faces.labels).calibration_error, 6
        )
        if self.unreadable:
            figures["unreadable"] = self.unreadable
        if majority_figures := self._measure_majority(classes):
            figures["annotators_agree"] = majority_figures
        return figures

    def _measure_majority(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """Return the figures against the annotators' majority, if any face has one."""
        if self.votes is None:
            return None
        truth = self.votes.majority
        is_known = truth >= 0
        if not is_known.any():
            return None
        metrics = self.measure(truth)
        before, after = self.measure_reliability(by_votes=True)
        figures = metrics.to_dict(classes)
        # The confidence is fitted to the share of the votes, not to the majority.
        del figures["calibration_error"]
        return {
            **figures,
            "listed": self.votes.listed,
            "original_labels": round(
                float((self.faces.labels[is_known] == truth[is_known]).mean()), 6
            ),
            "recall": {
                name: round(float(metrics.recall[label]), 6)
                for label, name in enumerate(classes)
                if metrics.support[label]
            },
            "votes_cross_entropy": round(
                cross_entropy(scale(self.logits, self.temperature), self.votes.targets), 6
            ),
            "votes_calibration_error": round(after.error, 6),
            "votes_calibration_error_before": round(before.error, 6),
            "without_usable_votes": self.votes.fallback,
        }

    def measure_reliability(self, *, by_votes: bool) -> tuple[Reliability, Reliability]:
        """Return the reliability without and with the temperature, against labels or votes."""
        truth = self.votes.targets if by_votes and self.votes is not None else self.faces.labels
        before: NDArray[np.float64] = softmax(scale(self.logits, 1.0), axis=1)
        return measure_reliability(before, truth), measure_reliability(self.probabilities, truth)

    def _select_temperature(self, chosen: NDArray[np.bool_]) -> float | NDArray[np.float64]:
        if isinstance(self.temperature, np.ndarray):
            return self.temperature[chosen]
        return self.temperature
