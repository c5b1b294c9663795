"""What a network gives for the faces of one split, and what it is compared with."""

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

# How far the temperature knows the faces that are measured with it.
INDEPENDENT = "on other faces"
OUT_OF_FOLD = "out of fold"
IN_SAMPLE = "in-sample"


@dataclass(frozen=True, eq=False)
class SplitResult:
    """A network's logits for one split.

    Attributes:
        split: The split's name in the report.
        faces: The faces, n of them.
        logits: float32, shape (n, classes).
        votes: What annotators saw in the faces; None without votes for them.
        unreadable: Pictures of the split that could not be read, and are not measured.
        temperature: What the logits are divided by: one number, or one for each face, shape (n,).
        fitted: How the temperature was fitted: `INDEPENDENT`, `OUT_OF_FOLD` or `IN_SAMPLE`.
    """

    split: str
    faces: Faces
    logits: NDArray[np.float32]
    votes: SoftLabels | None = None
    unreadable: int = 0
    temperature: float | NDArray[np.float64] = 1.0
    fitted: str = INDEPENDENT

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Return the calibrated probabilities, (n, classes)."""
        probabilities: NDArray[np.float64] = softmax(scale(self.logits, self.temperature), axis=1)
        return probabilities

    def truth(self, *, by_votes: bool) -> NDArray[np.int64]:
        """Return what the main figures compare with, int64 (n,): -1 for faces they leave out.

        Args:
            by_votes: The annotators' majority, where there is one for any face; else the labels.
        """
        if by_votes and self.votes is not None and (self.votes.majority >= 0).any():
            return self.votes.majority
        return self.faces.labels

    def measure(self, truth: NDArray[np.int64]) -> Metrics:
        """Measure the faces whose truth is a label, at the split's temperature."""
        known = truth >= 0
        return measure(self.logits[known], truth[known], self._temperature_of(known))

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the figures against the data's labels, and against the votes where there are."""
        figures = self.measure(self.faces.labels).to_dict(classes)
        figures["calibration"] = self.fitted
        figures["calibration_error_before"] = round(
            measure(self.logits, self.faces.labels).calibration_error, 6
        )
        if self.unreadable:
            figures["unreadable"] = self.unreadable
        if agreed := self._agreed(classes):
            figures["annotators_agree"] = agreed
        return figures

    def _agreed(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """Measure the pictures for which a strict majority of votes names a class, against it."""
        if self.votes is None:
            return None
        truth = self.votes.majority
        known = truth >= 0
        if not known.any():
            return None
        metrics = self.measure(truth)
        before, after = self.measure_reliability(by_votes=True)
        figures = metrics.to_dict(classes)
        # Confidence is a share of the votes, not the chance that it is the majority's label.
        del figures["calibration_error"]
        return {
            **figures,
            "listed": self.votes.listed,
            "original_labels": round(float((self.faces.labels[known] == truth[known]).mean()), 6),
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

    def _temperature_of(self, chosen: NDArray[np.bool_]) -> float | NDArray[np.float64]:
        if isinstance(self.temperature, np.ndarray):
            return self.temperature[chosen]
        return self.temperature
