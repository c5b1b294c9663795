"""Test whether a file in fp16 or int8 is worse than the float network, on the same faces.

Most faces are right in both or wrong in both, and show no difference. The test counts the faces
that the file broke (right before, wrong now) and those that it mended. McNemar's exact test
(McNemar 1947, binomial form) gives the probability of such a difference by chance, and the interval
of Clopper and Pearson (1934) gives the largest loss that the faces allow for. On few faces a
difference of one or two is chance. A file is refused only if the faces show that it is worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, betainccinv, betaincinv

SIGNIFICANCE = 0.025  # probability that a file which is not worse is refused
_CONFIDENCE = 0.95  # of the interval for the loss
_MAX_FACES = 1_000_000
MIN_FACES_FOR_EXACT_SHARE = 1000  # from here on, the share of equal labels itself decides

WORSE, NOT_WORSE, TOO_FEW = "worse", "not worse", "too few faces to tell"


@dataclass(frozen=True)
class PairedTest:
    """The numbers of faces that a file broke and mended, and the test of their difference.

    Attributes:
        faces: Number of faces.
        broken: Number of faces that were right before and are wrong now.
        mended: Number of faces that were wrong before and are right now.
        allowed: Largest allowed loss, a share of the faces.
        significance: Largest p-value of a significant loss.
    """

    faces: int
    broken: int
    mended: int
    allowed: float
    significance: float = SIGNIFICANCE

    @property
    def loss(self) -> float:
        """Share of the faces that were broken, less those mended; negative for a gain."""
        return (self.broken - self.mended) / self.faces

    @property
    def p_value(self) -> float:
        """Probability of at least so many broken faces if broken and mended are equally likely."""
        return _compute_p_value(self.broken, self.mended)

    @property
    def largest_loss(self) -> float:
        """Upper bound of the loss with 95 % confidence, conservative."""
        return _compute_largest_loss(self.broken, self.mended, self.faces)

    @property
    def decision(self) -> str:
        """``worse``, ``not worse``, or ``too few faces to tell``."""
        if self.loss > self.allowed and self.p_value <= self.significance:
            return WORSE
        return NOT_WORSE if self.largest_loss <= self.allowed else TOO_FEW

    @property
    def more_faces(self) -> int | None:
        """Number of further faces needed for a decision if they are like these.

        0 if there is a decision; None if a million faces would not be enough.
        """
        if self.decision != TOO_FEW:
            return 0

        def decides(faces: int) -> bool:
            scale = faces / self.faces
            broken, mended = self.broken * scale, self.mended * scale
            if self.loss > self.allowed:
                return _compute_p_value(round(broken), round(mended)) <= self.significance
            return _compute_largest_loss(broken, mended, faces) <= self.allowed

        low, high = self.faces, 2 * self.faces
        while not decides(high):
            low, high = high, 2 * high
            if high > _MAX_FACES:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if decides(middle) else (middle, high)
        return high - self.faces

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with shares rounded to six decimal places."""
        return {
            "decision": self.decision,
            "faces": self.faces,
            "broken": self.broken,
            "mended": self.mended,
            "loss": round(self.loss, 6),
            "allowed": self.allowed,
            "p_value": round(self.p_value, 6),
            "significance": round(self.significance, 6),
            "largest_loss": round(self.largest_loss, 6),
            "more_faces_needed": self.more_faces,
        }

    def __str__(self) -> str:
        more = self.more_faces
        missing = "" if not more else f": about {more:,} more needed"
        if more is None:
            missing = ": not even with a million"
        return (
            f"{self.loss:+.2%} on {self.faces:,} faces ({self.broken:,} broken, {self.mended:,} "
            f"mended, p {self.p_value:.2g}; at most {self.largest_loss:+.2%}; allowed "
            f"{self.allowed:.2%}): {self.decision}{missing}"
        )


def compare_predictions(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    allowed: float,
    significance: float = SIGNIFICANCE,
) -> PairedTest:
    """Compare two networks on the same faces.

    Args:
        before: For which faces the float network is right, bool, shape (n,), n ≥ 1.
        after: The same for the file.
        allowed: Largest allowed loss, a share of the faces.
        significance: Largest p-value of a significant loss.
    """
    return PairedTest(
        faces=len(before),
        broken=int((before & ~after).sum()),
        mended=int((~before & after).sum()),
        allowed=allowed,
        significance=significance,
    )


def min_agreeing_labels(faces: int, required: float) -> int:
    """Return how many labels must be equal, with an allowance for chance on few faces.

    On 1,000 faces and more it is the share `required` of them. On fewer faces, a file that keeps
    exactly the share `required` of all labels has fewer equal ones with a probability of at most
    `SIGNIFICANCE`.

    Args:
        faces: Number of faces, n ≥ 1.
        required: Share of labels that must be equal, 0 to 1; with 1, all of them.
    """
    if required >= 1 or faces >= MIN_FACES_FOR_EXACT_SHARE:
        return math.ceil(required * faces - 1e-9)
    differing = np.arange(faces + 1)
    # The smallest number that such a file exceeds with a probability of at most `SIGNIFICANCE`.
    return faces - int(np.argmax(bdtrc(differing, faces, 1 - required) <= SIGNIFICANCE))


def _compute_p_value(broken: int, mended: int) -> float:
    # P(at least `broken` faces break) = P(at most `mended` faces are mended).
    return float(bdtr(mended, broken + mended, 0.5)) if broken + mended else 1.0


def _compute_largest_loss(broken: float, mended: float, faces: float) -> float:
    """Return the difference of the upper limit of the one rate and the lower limit of the other."""
    tail = (1 - _CONFIDENCE) / 2
    upper = 1.0 if broken >= faces else float(betainccinv(broken + 1, faces - broken, tail))
    lower = 0.0 if mended <= 0 else float(betaincinv(mended, faces - mended + 1, tail))
    return upper - lower
