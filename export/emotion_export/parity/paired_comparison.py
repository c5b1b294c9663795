"""Is a file of fewer bits worse than the network in float? A paired test on the same faces.

Most faces are right in both, or wrong in both, and tell nothing. What counts are those that the
file broke (right before, wrong now) and those that it mended. McNemar's exact test (McNemar 1947;
the binomial form) tells how probable so uneven a pair is by chance alone, and Clopper and Pearson's
interval (1934) how large the loss may be. On few faces a difference of one or two is chance: a file
is refused only where the faces show that it is worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, betainccinv, betaincinv

SIGNIFICANCE = 0.025  # probability that a file which is not worse is refused all the same
_CONFIDENCE = 0.95  # of the largest loss, one-sided
_MOST_FACES = 1_000_000
_DECISIVE_FACES = 1000  # from so many on, the part of the labels that agree decides as it is

WORSE, NOT_WORSE, TOO_FEW = "worse", "not worse", "too few faces to tell"


@dataclass(frozen=True)
class PairedTest:
    """The faces that a file broke and mended, and what they show.

    Attributes:
        faces: Faces compared.
        broken: Right before, wrong now.
        mended: Wrong before, right now.
        allowed: The loss that is allowed, a part of the faces.
        significance: The p-value from which a loss is no chance.
    """

    faces: int
    broken: int
    mended: int
    allowed: float
    significance: float = SIGNIFICANCE

    @property
    def loss(self) -> float:
        """Part of the faces lost on balance; negative where there was a gain."""
        return (self.broken - self.mended) / self.faces

    @property
    def p_value(self) -> float:
        """Probability of at least so many broken ones, were breaking and mending as likely."""
        return _p_value(self.broken, self.mended)

    @property
    def largest_loss(self) -> float:
        """Upper bound of the loss, at a confidence of 95 %; conservative."""
        return _largest_loss(self.broken, self.mended, self.faces)

    @property
    def decision(self) -> str:
        """``worse``, ``not worse``, or ``too few faces to tell``."""
        if self.loss > self.allowed and self.p_value <= self.significance:
            return WORSE
        return NOT_WORSE if self.largest_loss <= self.allowed else TOO_FEW

    @property
    def more_faces(self) -> int | None:
        """Faces that are missing for a decision, were the further ones like these.

        0 where there is a decision; None where a million would not do.
        """
        if self.decision != TOO_FEW:
            return 0

        def decides(faces: int) -> bool:
            scale = faces / self.faces
            broken, mended = self.broken * scale, self.mended * scale
            if self.loss > self.allowed:
                return _p_value(round(broken), round(mended)) <= self.significance
            return _largest_loss(broken, mended, faces) <= self.allowed

        low, high = self.faces, 2 * self.faces
        while not decides(high):
            low, high = high, 2 * high
            if high > _MOST_FACES:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if decides(middle) else (middle, high)
        return high - self.faces

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, parts rounded to six places."""
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


def compare_answers(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    allowed: float,
    significance: float = SIGNIFICANCE,
) -> PairedTest:
    """Compare two networks on the same faces.

    Args:
        before: Which faces the network in float gives the right label, bool, shape (n,), n ≥ 1.
        after: The same of the file.
        allowed: The loss that is allowed, a part of the faces.
        significance: The p-value from which a loss is no chance.
    """
    return PairedTest(
        len(before),
        int((before & ~after).sum()),
        int((~before & after).sum()),
        allowed,
        significance,
    )


def fewest_agreeing(faces: int, required: float) -> int:
    """Return how many labels must agree, so that on few faces one flip by chance is none too many.

    On 1,000 faces and more it is `required` of them. On fewer, it is the number under which a file
    that keeps exactly `required` of all labels falls with a probability of `SIGNIFICANCE`.

    Args:
        faces: Faces compared, n ≥ 1.
        required: Part of all labels that must agree, 0 to 1; at 1 every one must.
    """
    if required >= 1 or faces >= _DECISIVE_FACES:
        return math.ceil(required * faces - 1e-9)
    differing = np.arange(faces + 1)
    # The fewest that no more than `SIGNIFICANCE` of such files exceed.
    return faces - int(np.argmax(bdtrc(differing, faces, 1 - required) <= SIGNIFICANCE))


def _p_value(broken: int, mended: int) -> float:
    # At least so many broken are as probable as at most so many mended.
    return float(bdtr(mended, broken + mended, 0.5)) if broken + mended else 1.0


def _largest_loss(broken: float, mended: float, faces: float) -> float:
    """Take the two rates from opposite ends of their Clopper-Pearson intervals."""
    tail = (1 - _CONFIDENCE) / 2
    most = 1.0 if broken >= faces else float(betainccinv(broken + 1, faces - broken, tail))
    least = 0.0 if mended <= 0 else float(betaincinv(mended, faces - mended + 1, tail))
    return most - least
