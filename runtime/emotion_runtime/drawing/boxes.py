"""Draw bounding boxes and labels of faces into a picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from emotion_runtime.drawing.fonts import Font
from emotion_runtime.prediction import FacePrediction

# Okabe and Ito's palette for colour-blind readers; the labels use its colours in turn.
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00")
_GRAY, _INK, _PAPER = "#bbbbbb", "#000000", "#ffffff"


def draw_faces(
    image: Image.Image,
    predictions: Sequence[FacePrediction],
    labels: Sequence[str],
    font: Font | None = None,
) -> None:
    """Draw boxes and labels into an RGB image, legible on any background.

    Args:
        image: The upright picture that the boxes refer to.
        predictions: Predictions of its faces; those without a box are skipped.
        labels: Labels of the model, which determine the colours. ``other`` and ``uncertain`` are
            drawn in gray.
        font: Font of the labels; None for the bundled font.
    """
    font = Font() if font is None else font
    draw = ImageDraw.Draw(image)
    line = max(1, round(max(image.size) / 400))
    for one in predictions:
        if one.box is None or one.label is None:
            continue
        box = x, y, width, height = one.box
        colour = _GRAY
        if one.label in labels:
            colour = _COLOURS[labels.index(one.label) % len(_COLOURS)]
        # A dark line on both sides makes the colour visible on any background.
        edge = (x - line, y - line, x + width + line, y + height + line)
        draw.rectangle(edge, outline=_INK, width=3 * line)
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        share = f" {one.confidence or 0:.0%}"
        _draw_label(
            draw,
            one.label,
            picture_size=image.size,
            box=box,
            share=share,
            colour=colour,
            line=line,
            font=font,
        )


def _draw_label(
    draw: ImageDraw.ImageDraw,
    label: str,
    *,
    picture_size: tuple[int, int],
    box: tuple[int, int, int, int],
    share: str,
    colour: str,
    line: int,
    font: Font,
) -> None:
    """Write the label above the box, or below or inside it where there is no space."""
    x, y, width, height = box
    points = round(min(max(12, width / 7), max(12, picture_size[0] / 20)))
    pad = max(2, line)
    pillow_font = font.get_font(points)
    text = font.fit_text(label, points, picture_size[0] - 2 * pad, share)
    left, top, right, bottom = (round(value) for value in draw.textbbox((0, 0), text, pillow_font))
    wide, high = right - left + 2 * pad, bottom - top + 2 * pad
    at_x = max(0, min(x - line, picture_size[0] - wide))
    at_y = y - line - high
    if at_y < 0:
        at_y = y + height + line
        if at_y + high > picture_size[1]:
            at_y = max(0, y)
    draw.rectangle((at_x, at_y, at_x + wide, at_y + high), fill=colour, outline=_INK)
    draw.text((at_x + pad - left, at_y + pad - top), text, _choose_ink(colour), pillow_font)


def _choose_ink(colour: str) -> str:
    """Return black or white, whichever is more legible on a colour."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else _PAPER
