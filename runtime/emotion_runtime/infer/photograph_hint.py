"""The hint that a picture which is classified as one face may be a whole photograph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from emotion_runtime.pictures.preprocessing import find_photograph_size

_MAX_INSPECTED_PICTURES = 8


class PhotographHint:
    """Looks at the size of the first pictures, and suggests ``--faces`` for photographs."""

    def __init__(self) -> None:
        self._text = ""

    def inspect(self, pictures: Iterator[str]) -> Iterator[str]:
        """Yield the pictures unchanged."""
        for picture in islice(pictures, _MAX_INSPECTED_PICTURES):
            if not self._text and (size := find_photograph_size(picture)):
                self._text = (
                    f"hint: {picture} is {size[0]}×{size[1]} pixels; where pictures are whole "
                    f"photographs, --faces finds the faces in them"
                )
            yield picture
        yield from pictures

    def notes(self) -> list[str]:
        """Return the hint as one sentence, or nothing."""
        return [self._text] if self._text else []
