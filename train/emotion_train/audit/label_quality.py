"""Label quality by confident learning, with the library cleanlab.

Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021. The
probabilities of a picture must come from a network that has not learned from it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_train.errors import RunError

# Below, agreement beyond chance is fair at most (Landis and Koch, "The Measurement of Observer
# Agreement for Categorical Data", 1977).
MIN_KAPPA = 0.4


@dataclass(frozen=True, eq=False)
class LabelQuality:
    """The quality of the labels of n pictures.

    Attributes:
        labels: int64 (n,), the given labels.
        scores: float64 (n,), 0 to 1: the probability of the given label; low means suspicious.
        suggested: int64 (n,), the most probable class.
        is_issue: bool (n,), the labels that are probably wrong.
        joint: float64 (classes, classes), the estimated share of pictures by given and by true
            label; the sum is 1.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    suggested: NDArray[np.int64]
    is_issue: NDArray[np.bool_]
    joint: NDArray[np.float64]

    def estimate_wrong_shares(self) -> NDArray[np.float64]:
        """Return the estimated share of wrong labels of each class, float64 (classes,).

        It is NaN for a class without pictures.
        """
        given = self.joint.sum(axis=1)
        right = np.diag(self.joint)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: NDArray[np.float64] = np.where(given > 0, 1 - right / given, np.nan)
        return shares

    def measure_agreement(self) -> float:
        """Return the share of labels that are also the suggestion, 0 to 1."""
        return float((self.labels == self.suggested).mean())

    def measure_kappa(self) -> float:
        """Return Cohen's kappa of labels and suggestions: 1 at best, 0 for guessing.

        Cohen, "A coefficient of agreement for nominal scales", 1960.
        """
        from sklearn.metrics import cohen_kappa_score

        if len({*self.labels.tolist(), *self.suggested.tolist()}) < 2:
            return 0.0  # one class, which guessing finds too
        return float(cohen_kappa_score(self.labels, self.suggested))

    def estimate_wrong_share(self) -> float:
        """Return the estimated share of wrong labels of all classes together."""
        return float(1 - np.trace(self.joint))


def measure_label_quality(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> LabelQuality:
    """Return the quality of labels.

    The scores are cleanlab's *self-confidence*; the number of wrong labels of each pair of classes
    is estimated from the confident joint, and that many pictures of the pair, the most suspicious
    ones, are issues (*prune by noise rate*).

    Args:
        labels: int64 (n,).
        probabilities: float64 (n, classes), out of sample, with rows that sum to 1.

    Raises:
        RunError: cleanlab cannot estimate anything from these labels.
    """
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    try:
        with _silence():
            scores = get_label_quality_scores(labels, probabilities, method="self_confidence")
            is_issue = find_label_issues(
                labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1
            )
            joint = estimate_joint(labels, probabilities)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise RunError(f"cleanlab cannot judge these labels ({error}).") from error
    return LabelQuality(
        labels=labels,
        scores=np.asarray(scores, np.float64),
        suggested=probabilities.argmax(axis=1).astype(np.int64),
        is_issue=np.asarray(is_issue, np.bool_),
        joint=np.asarray(joint, np.float64),
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the warnings that cleanlab prints."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
