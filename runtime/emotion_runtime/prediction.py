"""One answer for one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # read for --help too, which must not wait for numpy
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

OTHER = "other"
UNCERTAIN = "uncertain"
NO_FACE = "no face"
UNREADABLE = "unreadable"

RELIABLE_FACE_PIXELS = 24  # of height: labels of smaller faces are wrong more often
SMALL_FACE = "small face"  # the warning of those


@dataclass(frozen=True)
class Prediction:
    """What the network says of a picture, or why it could not.

    Attributes:
        label: The likeliest class; ``"other"`` where the face shows none of the labels,
            ``"uncertain"`` below the confidence threshold, None on error.
        confidence: Probability of the label, 0 to 1: of the likeliest class, or for ``"other"``
            the value of `other`; None on error.
        probabilities: Of every class, in the order of the model's labels; they add up to 1,
            whatever `other` is. None on error.
        path: Where the picture came from, as it was given; None for pictures without a path.
        error: One sentence where the picture could not be read, else None.
        other: Probability that the face shows none of the labels, 0 to 1; None on error, and of
            model files that do not have this output.
    """

    # Further columns of CSV, by the names of `columns`.
    COLUMNS: ClassVar[tuple[str, ...]] = ()

    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    path: str | None = None
    error: str | None = None
    other: float | None = field(default=None, kw_only=True)

    @classmethod
    def from_error(cls, path: str | None, error: str) -> Self:
        """Return the result of a picture that could not be read.

        Args:
            path: Path of the picture, or None.
            error: The reason, one sentence.
        """
        return cls(label=None, confidence=None, probabilities=None, path=path, error=error)

    def to_dict(self, *, with_other: bool | None = None) -> dict[str, Any]:
        """Return the fields in the order of a JSON line.

        Args:
            with_other: Whether there is a field ``other``; None for only where it has a value.
        """
        values = {
            "path": self.path,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": self.probabilities,
        }
        if with_other or (with_other is None and self.other is not None):
            values["other"] = self.other
        return values | {"error": self.error}

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
        box: x, y, width and height of the face in whole pixels of the upright picture, inside of
            it, so that ``pixels[y : y + height, x : x + width]`` is the face; None where there is
            no face.
        detection_confidence: The detector's, 0 to 1; None where there is no face.
        crop: What the network saw of the face, uint8 (size, size), where crops are kept;
            else None. It is no part of the results that are written, nor of comparisons.
        warning: ``"small face"`` where the face had fewer than 24 pixels of height in the picture
            as it was decoded, so that its label is less reliable; else None.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        *("x", "y", "width", "height", "detection_confidence"),
        "warning",
    )

    box: tuple[int, int, int, int] | None = None
    detection_confidence: float | None = None
    crop: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False, kw_only=True)
    warning: str | None = field(default=None, kw_only=True)

    @classmethod
    def without_face(cls, path: str | None) -> Self:
        """Return the result of a photograph in which no face was found."""
        return cls(label=None, confidence=None, probabilities=None, path=path)

    def to_dict(self, *, with_other: bool | None = None) -> dict[str, Any]:
        """Return the fields in the order of a JSON line."""
        return super().to_dict(with_other=with_other) | {
            "box": None if self.box is None else list(self.box),
            "detection_confidence": self.detection_confidence,
            "warning": self.warning,
        }

    @property
    def outcome(self) -> str:
        """Return the label, or why there is none."""
        return self.label or (UNREADABLE if self.error else NO_FACE)

    def columns(self) -> dict[str, Any]:
        """Return the box, the detector's confidence, and the warning."""
        values = (*(self.box or (None,) * 4), self.detection_confidence, self.warning)
        return dict(zip(FacePrediction.COLUMNS, values, strict=True))


def format_count(number: int, noun: str) -> str:
    """Say a number of things, such as ``1 face`` or ``1,200 faces``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
