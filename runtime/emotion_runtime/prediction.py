"""The result of one picture."""

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

RELIABLE_FACE_PIXELS = 24  # in height; labels of smaller faces are wrong more often
SMALL_FACE = "small face"  # the warning about smaller faces


@dataclass(frozen=True)
class Prediction:
    """The result of a picture: its label and probabilities, or an error.

    Attributes:
        label: The most probable class; ``"other"`` where the face shows none of the labels,
            ``"uncertain"`` below the confidence threshold, None on error.
        confidence: Probability of the most probable class, 0 to 1; for ``"other"`` the value of
            `other`; None on error.
        probabilities: Probability of each class, in the order of the model's labels. They add up
            to 1, whatever `other` is. None on error.
        path: Path of the picture, as it was given; None for pictures without a path.
        error: One sentence where the picture could not be read, else None.
        other: Probability that the face shows none of the labels, 0 to 1; None on error, and for
            model files without this output.
    """

    # Names of further CSV columns, whose values `columns` returns.
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
            with_other: Whether to include the field ``other``; None for where it has a value.
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
        """Return the label, or the word for why there is none."""
        return self.label or UNREADABLE

    def columns(self) -> dict[str, Any]:
        """Return the values of `COLUMNS`."""
        return {}


@dataclass(frozen=True)
class FacePrediction(Prediction):
    """The result of one face of a photograph.

    A photograph without a face has a result too: without a label, a box or an error.

    Attributes:
        box: Bounding box of the face: x, y, width and height in whole pixels of the upright
            picture, clipped to the picture, so that ``pixels[y : y + height, x : x + width]`` is
            the face; None where there is no face.
        detection_confidence: Confidence of the detector, 0 to 1; None where there is no face.
        crop: The network's input of this face, uint8 (size, size), where crops are kept; else
            None. It is neither written to results nor compared.
        warning: ``"small face"`` where the face has fewer than 24 pixels of height in the decoded
            picture, so that its label is less reliable; else None.
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
        """Return the label, or the word for why there is none."""
        return self.label or (UNREADABLE if self.error else NO_FACE)

    def columns(self) -> dict[str, Any]:
        """Return the box, the detector's confidence, and the warning."""
        values = (*(self.box or (None,) * 4), self.detection_confidence, self.warning)
        return dict(zip(FacePrediction.COLUMNS, values, strict=True))


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 face`` or ``1,200 faces``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
