"""One answer for one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class Prediction:
    """What the network says of a picture, or why it could not.

    Attributes:
        label: The likeliest class, ``"uncertain"`` under the confidence floor, None on error.
        confidence: Probability of the likeliest class, 0 to 1; None on error.
        probabilities: Of every class, in the order of the model's labels; None on error.
        path: Where the picture came from, as it was given; None for pictures without a path.
        error: One sentence where the picture could not be read, else None.
    """

    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    path: str | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in the order of a JSON line."""
        return {
            "path": self.path,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": self.probabilities,
            "error": self.error,
        }
