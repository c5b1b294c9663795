"""A picture of a confusion matrix, drawn by Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL_PIXELS, _MARGIN_PIXELS, _GAP_PIXELS = 96, 24, 10
_INK, _FAINT, _PAPER, _FULL = "#1b1b1b", "#6b6b6b", "#ffffff", (0, 90, 160)


def draw_confusion_matrix(
    confusion: NDArray[np.int64], labels: Sequence[str], title: str
) -> Image.Image:
    """Draw counts and shares; the darker a cell, the larger its share of the true class.

    Args:
        confusion: int64 (classes, classes), rows true, columns predicted.
        labels: Class names in the order of rows and columns.
        title: One line above the matrix.

    Returns:
        An RGB image.
    """
    large, middle, small = (ImageFont.load_default(size) for size in (18, 15, 13))
    gauge = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    names = round(max(gauge.textlength(name, middle) for name in labels))
    left = _MARGIN_PIXELS + 24 + names + _GAP_PIXELS
    top = _MARGIN_PIXELS + 34 + 24 + 26
    side = _CELL_PIXELS * len(labels)
    width = max(left + side, _MARGIN_PIXELS + round(gauge.textlength(title, large)))
    image = Image.new("RGB", (width + _MARGIN_PIXELS, top + side + _MARGIN_PIXELS), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN_PIXELS, _MARGIN_PIXELS), title, _INK, large)
    draw.text((left + side / 2, top - 50), "predicted", _FAINT, small, anchor="ma")
    _draw_sideways(image, "true", (_MARGIN_PIXELS, top + side // 2), small)
    totals = confusion.sum(axis=1)
    for row, name in enumerate(labels):
        middle_of_row = top + (row + 0.5) * _CELL_PIXELS
        draw.text((left - _GAP_PIXELS, middle_of_row), name, _INK, middle, anchor="rm")
        short = _shorten(draw, name, middle, _CELL_PIXELS - 6)
        place = (left + (row + 0.5) * _CELL_PIXELS, top - 8)
        draw.text(place, short, _INK, middle, anchor="ms")
        for column in range(len(labels)):
            count, total = int(confusion[row, column]), int(totals[row])
            corner = (left + column * _CELL_PIXELS, top + row * _CELL_PIXELS)
            _draw_cell(draw, corner, count, count / total if total else None, middle, small)
    return image


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    count: int,
    share: float | None,
    large: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    small: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y = corner
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
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    box = ImageDraw.Draw(image).textbbox((0, 0), text, font)
    strip = Image.new("RGB", (round(box[2]) + 2, round(box[3]) + 2), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, _FAINT, font)
    turned = strip.rotate(90, expand=True)
    image.paste(turned, (centre[0], centre[1] - turned.height // 2))


def _shorten(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """Cut a long name where its column ends; the rows have it in full."""
    if draw.textlength(text, font) <= width:
        return text
    while len(text) > 1 and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
