"""Overlapping tiles of pictures that are too large for one call of a detector."""

from __future__ import annotations

import math
from collections.abc import Iterator

TILE_PIXELS = 2048  # side of a square that is searched at once; takes 160 MB of memory
MAX_FACE_PIXELS = 400  # side of a face in one view; of larger faces, parts are detected as faces


def cut_tiles(
    width: int, height: int, side: int = TILE_PIXELS, overlap: int = MAX_FACE_PIXELS
) -> Iterator[tuple[int, int, int, int]]:
    """Yield left, upper, right and lower edge of the tiles of a picture, in pixels.

    Args:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        side: Side of the square that is searched at once, in pixels.
        overlap: Width of the strip that two neighbouring tiles share, in pixels.
    """
    rows, columns = _cut_spans(height, side, overlap), _cut_spans(width, side, overlap)
    if side == TILE_PIXELS:  # the area is bounded; for other sides, the sides themselves are
        # Tiles of a long and narrow picture may be longer: they have no more pixels than a square.
        rows = _cut_spans(height, side * side // min(width, side), overlap)
        columns = _cut_spans(width, side * side // min(height, side), overlap)
    for upper, lower in rows:
        for left, right in columns:
            yield left, upper, right, lower


def _cut_spans(length: int, max_span: int, overlap: int) -> list[tuple[int, int]]:
    """Return start and end of equal spans that cover a length and overlap each other."""
    if length <= max_span:
        return [(0, length)]
    count = math.ceil((length - overlap) / (max_span - overlap))
    span = math.ceil((length + (count - 1) * overlap) / count)
    starts = [round(index * (length - span) / (count - 1)) for index in range(count)]
    return [(start, start + span) for start in starts]
