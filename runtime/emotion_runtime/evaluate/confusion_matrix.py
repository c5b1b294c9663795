"""A picture of a confusion matrix, drawn by Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emotion_runtime.drawing.fonts import Font

_CELL_PIXELS, _MARGIN_PIXELS, _GAP_PIXELS = 96, 24, 10
_LARGE, _MIDDLE, _SMALL = 18, 15, 13  # pixels of the text
_MAX_NAME_PIXELS = 320  # of a class name beside its row
_INK, _FAINT, _PAPER, _FULL = "#1b1b1b", "#6b6b6b", "#ffffff", (0, 90, 160)


def draw_confusion_matrix(
    confusion: NDArray[np.int64], labels: Sequence[str], title: str, font: Font | None = None
) -> Image.Image:
    """Draw counts and shares; the darker a cell, the larger its share of the true class.

    Args:
        confusion: int64 (classes, classes), rows true, columns predicted.
        labels: Class names in the order of rows and columns.
        title: One line above the matrix.
        font: Draws the text; None for the font that ships.

    Returns:
        An RGB image.
    """
    font = Font() if font is None else font
    large, middle, small = map(font.get_font, (_LARGE, _MIDDLE, _SMALL))
    title = font.prepare_text(title)
    rows = [font.fit_text(name, _MIDDLE, _MAX_NAME_PIXELS, " ").rstrip() for name in labels]
    names = round(max(middle.getlength(name) for name in rows))
    left = _MARGIN_PIXELS + 24 + names + _GAP_PIXELS
    top = _MARGIN_PIXELS + 34 + 24 + 26
    side = _CELL_PIXELS * len(labels)
    width = max(left + side, _MARGIN_PIXELS + round(large.getlength(title)))
    image = Image.new("RGB", (width + _MARGIN_PIXELS, top + side + _MARGIN_PIXELS), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN_PIXELS, _MARGIN_PIXELS), title, _INK, large)
    draw.text((left + side / 2, top - 50), "predicted", _FAINT, small, anchor="ma")
    _draw_sideways(image, "true", (_MARGIN_PIXELS, top + side // 2), font)
    totals = confusion.sum(axis=1)
    for row, name in enumerate(labels):
        middle_of_row = top + (row + 0.5) * _CELL_PIXELS
        draw.text((left - _GAP_PIXELS, middle_of_row), rows[row], _INK, middle, anchor="rm")
        short = font.fit_text(name, _MIDDLE, _CELL_PIXELS - 6, " ").rstrip()
        place = (left + (row + 0.5) * _CELL_PIXELS, top - 8)
        draw.text(place, short, _INK, middle, anchor="ms")
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


def _draw_sideways(
    image: Image.Image,
    text: str,
    centre: tuple[int, int],
    font: Font,
) -> None:
    sized = font.get_font(_SMALL)
    box = ImageDraw.Draw(image).textbbox((0, 0), text, sized)
    strip = Image.new("RGB", (round(box[2]) + 2, round(box[3]) + 2), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, _FAINT, sized)
    turned = strip.rotate(90, expand=True)
    image.paste(turned, (centre[0], centre[1] - turned.height // 2))
