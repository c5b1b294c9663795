"""The outputs of a network, and the decision that a face shows none of the labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Outputs(NamedTuple):
    """The outputs of a network for n faces.

    Attributes:
        logits: float32, shape (n, classes).
        probabilities: float32, shape (n, classes); each row adds up to 1.
        other: Probability that a face shows none of the labels, float32, shape (n,); None for
            model files without this output.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    other: NDArray[np.float32] | None = None

    def with_other(self) -> NDArray[np.float32]:
        """Return the probabilities, with `other` as a last column where there is one."""
        if self.other is None:
            return self.probabilities
        return np.concatenate([self.probabilities, self.other[:, np.newaxis]], axis=1)

    def decide(self, other_threshold: float | None) -> NDArray[np.int64]:
        """Return the index of each face's label, int64, shape (n,).

        It is the label of `EmotionClassifier` without the confidence threshold. The index of
        ``"other"`` is the number of classes.
        """
        decided: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        if self.other is not None and other_threshold is not None:
            decided[is_other(self.other, other_threshold)] = self.probabilities.shape[1]
        return decided


def is_other(other: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Return which faces get the label ``"other"``, bool, shape (n,); none at a threshold of 1."""
    # In float32, the precision of the outputs: its 0.9 is slightly less than Python's.
    reached: NDArray[np.bool_] = other >= np.float32(threshold)
    return reached & (threshold < 1)


def compute_other_tolerance(logit_tolerance: float, temperature: float) -> float:
    """Return how much `other` may differ where each logit differs by at most `logit_tolerance`.

    `other` is the logistic function of the difference of two log-sum-exps of logits over the
    temperature. A log-sum-exp changes by at most as much as its logits, and the slope of the
    logistic function is at most 1/4.
    """
    return max(logit_tolerance / (2 * temperature), 1e-6)  # at least the rounding of float32
