"""Draw a confusion matrix with Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emotion_runtime.drawing.fonts import Font
from emotion_runtime.drawing.vertical_text import draw_vertical_text

_CELL_PIXELS, _MARGIN_PIXELS, _GAP_PIXELS = 96, 24, 10
_LARGE, _MIDDLE, _SMALL = 18, 15, 13  # sizes of the text in pixels
_MAX_NAME_PIXELS = 320  # of a class name left of its row
_INK, _FAINT, _PAPER, _FULL = "#1b1b1b", "#6b6b6b", "#ffffff", (0, 90, 160)


def draw_confusion_matrix(
    confusion: NDArray[np.int64], labels: Sequence[str], title: str, font: Font | None = None
) -> Image.Image:
    """Draw the counts and shares of a confusion matrix; darker cells have larger shares.

    Args:
        confusion: Counts, int64 (classes, classes), rows true, columns predicted.
        labels: Class names in the order of rows and columns.
        title: One line above the matrix.
        font: Font of the text; None for the bundled font.

    Returns:
        An RGB image.
    """
    font = Font() if font is None else font
    large, middle, small = map(font.get_font, (_LARGE, _MIDDLE, _SMALL))
    title = font.prepare_text(title)
    rows = [font.fit_text(name, _MIDDLE, _MAX_NAME_PIXELS, " ").rstrip() for name in labels]
    name_pixels = round(max(middle.getlength(name) for name in rows))
    left = _MARGIN_PIXELS + 24 + name_pixels + _GAP_PIXELS
    top = _MARGIN_PIXELS + 34 + 24 + 26
    side = _CELL_PIXELS * len(labels)
    width = max(left + side, _MARGIN_PIXELS + round(large.getlength(title)))
    image = Image.new("RGB", (width + _MARGIN_PIXELS, top + side + _MARGIN_PIXELS), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN_PIXELS, _MARGIN_PIXELS), title, _INK, large)
    draw.text((left + side / 2, top - 50), "predicted", _FAINT, small, anchor="ma")
    draw_vertical_text(
        image,
        "true",
        (_MARGIN_PIXELS, top + side // 2),
        font=font,
        pixels=_SMALL,
        colour=_FAINT,
        background=_PAPER,
    )
    totals = confusion.sum(axis=1)
    for row, name in enumerate(labels):
        middle_of_row = top + (row + 0.5) * _CELL_PIXELS
        draw.text((left - _GAP_PIXELS, middle_of_row), rows[row], _INK, middle, anchor="rm")
        short = font.fit_text(name, _MIDDLE, _CELL_PIXELS - 6, " ").rstrip()
        position = (left + (row + 0.5) * _CELL_PIXELS, top - 8)
        draw.text(position, short, _INK, middle, anchor="ms")
        for column in range(len(labels)):
            count, total = int(confusion[row, column]), int(totals[row])
            corner = (left + column * _CELL_PIXELS, top + row * _CELL_PIXELS)
            _draw_cell(draw, corner, count, count / total if total else None, font)
    return image


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    count: int,
    share: float | None,
    font: Font,
) -> None:
    x, y = corner
    large, small = font.get_font(_MIDDLE), font.get_font(_SMALL)
    colour = tuple(round(255 + (full - 255) * (share or 0.0)) for full in _FULL)
    draw.rectangle((x, y, x + _CELL_PIXELS - 2, y + _CELL_PIXELS - 2), fill=colour)
    centre = x + _CELL_PIXELS / 2 - 1
    if share is None:  # no picture of this class
        draw.text((centre, y + _CELL_PIXELS / 2), "–", _FAINT, large, anchor="mm")
        return
    ink = _PAPER if share > 0.45 else _INK
    draw.text((centre, y + _CELL_PIXELS / 2 - 2), f"{count:,}", ink, large, anchor="mb")
    draw.text((centre, y + _CELL_PIXELS / 2 + 4), f"{share:.1%}", ink, small, anchor="mt")
