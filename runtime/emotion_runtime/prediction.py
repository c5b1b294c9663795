"""One answer for one picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

UNCERTAIN = "uncertain"
NO_FACE = "no face"
UNREADABLE = "unreadable"


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

    # Further columns of CSV, by the names of `columns`.
    COLUMNS: ClassVar[tuple[str, ...]] = ()

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

    @property
    def outcome(self) -> str:
        """Return what a person is told in one word: the label, or why there is none."""
        return self.label or UNREADABLE

    def columns(self) -> dict[str, Any]:
        """Return the values of `COLUMNS`."""
        return {}


@dataclass(frozen=True)
class FacePrediction(Prediction):
    """What the network says of one face of a photograph.

    A photograph without a face is an answer too: no label, no box, no error.

    Attributes:
        box: x, y, width and height of the face in pixels of the upright picture, the corner
            perhaps outside of it; None where there is no face.
        detection_confidence: The detector's, 0 to 1; None where there is no face.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("x", "y", "width", "height", "detection_confidence")

    box: tuple[int, int, int, int] | None = None
    detection_confidence: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in the order of a JSON line."""
        values = super().to_dict() | asdict(self)  # of both, the order of the first
        return values | {"box": None if self.box is None else list(self.box)}

    @property
    def outcome(self) -> str:
        """Return the label, or why there is none."""
        return self.label or (UNREADABLE if self.error else NO_FACE)

    def columns(self) -> dict[str, Any]:
        """Return the box and the detector's confidence."""
        box = self.box or (None,) * 4
        return dict(zip(FacePrediction.COLUMNS, (*box, self.detection_confidence), strict=True))


def counted(number: int, noun: str) -> str:
    """Say a number of things, such as ``1 face`` or ``1,200 faces``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
