"""A picture of what thresholds of `other` do: the ROC curve and risk–coverage, drawn by Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emotion_runtime.drawing.fonts import Font
from emotion_runtime.evaluate.open_set import OpenSet

_SIDE_PIXELS, _MARGIN_PIXELS, _GAP_PIXELS = 320, 24, 96
_LEFT_PIXELS, _TOP_PIXELS, _BOTTOM_PIXELS = 76, 96, 64
_LARGE, _MIDDLE, _SMALL = 18, 15, 13  # pixels of the text
_OVERSAMPLING = 3  # lines are drawn so many times as large, and made smaller: smooth edges
_INK, _FAINT, _PAPER, _GRID, _LINE, _POINT = (
    *("#1b1b1b", "#6b6b6b", "#ffffff", "#e4e4e4", "#005aa0", "#b03020"),
)

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def draw_curves(
    open_set: OpenSet, threshold: float, title: str, font: Font | None = None
) -> Image.Image:
    """Draw the ROC curve of `other` beside its risk–coverage curve, the threshold marked on both.

    Args:
        open_set: The output on faces of the labels and of other classes, at least one of each.
        threshold: The threshold in force.
        title: One line above.
        font: Draws the text; None for the font that ships.

    Returns:
        An RGB image.
    """
    font = Font() if font is None else font
    point = open_set.at(threshold)
    others_named, named = point.others_named / point.others, point.named / point.known
    count = point.named + point.others_named
    coverage = count / (point.known + point.others)
    risk = 1 - point.named_correctly / count if count else 0.0
    curve = open_set.risk_coverage()
    top = _round_up(float(curve[1].max()))
    panels: tuple[tuple[str, str, str, Curve, tuple[float, float], float], ...] = (
        (
            f"ROC curve, area {open_set.auroc() or 0.0:.3f}",
            "share of the other faces that is named",
            "share of the faces of the labels that is named",
            open_set.roc(),
            (others_named, named),
            1.0,
        ),
        (
            "risk–coverage curve",
            f"share of all {point.known + point.others:,} faces that is named",
            "share of the named faces that is wrong",
            curve,
            (coverage, risk),
            top,
        ),
    )
    width = 2 * _MARGIN_PIXELS + 2 * (_LEFT_PIXELS + _SIDE_PIXELS) + _GAP_PIXELS - _LEFT_PIXELS
    height = _TOP_PIXELS + _SIDE_PIXELS + _BOTTOM_PIXELS + _MARGIN_PIXELS
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    fitted = font.fit_text(title, _LARGE, width - 2 * _MARGIN_PIXELS, " ").rstrip()
    draw.text((_MARGIN_PIXELS, _MARGIN_PIXELS), fitted, _INK, font.get_font(_LARGE))
    for place, (head, across, up, line, mark, most) in enumerate(panels):
        left = _MARGIN_PIXELS + _LEFT_PIXELS + place * (_SIDE_PIXELS + _GAP_PIXELS)
        image.paste(_draw_plot(line, mark, most), (left, _TOP_PIXELS))
        bottom = _TOP_PIXELS + _SIDE_PIXELS
        draw.text((left, _TOP_PIXELS - 10), head, _INK, font.get_font(_MIDDLE), anchor="ls")
        small = font.get_font(_SMALL)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            at = share * (_SIDE_PIXELS - 1)
            draw.text((left + at, bottom + 6), f"{share:.0%}", _FAINT, small, anchor="ma")
            text = f"{share * most:.0%}" if most >= 0.1 else f"{share * most:.1%}"
            draw.text((left - 6, bottom - at), text, _FAINT, small, anchor="rm")
        middle = left + _SIDE_PIXELS / 2
        draw.text((middle, bottom + 26), across, _FAINT, small, anchor="ma")
        _draw_upwards(image, up, (left - _LEFT_PIXELS + 4, _TOP_PIXELS + _SIDE_PIXELS // 2), font)
    note = f"the point is the threshold {threshold:g}"
    draw.text(
        (width - _MARGIN_PIXELS, height - 20), note, _POINT, font.get_font(_SMALL), anchor="rs"
    )
    return image


def _draw_plot(curve: Curve, mark: tuple[float, float], most: float) -> Image.Image:
    """Draw a curve over a grid; x from 0 to 1, y from 0 to `most`."""
    side = _SIDE_PIXELS * _OVERSAMPLING
    image = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(image)
    for step in range(5):
        at = round(step / 4 * (side - _OVERSAMPLING))
        draw.rectangle((0, at, side, at + _OVERSAMPLING - 1), fill=_GRID)
        draw.rectangle((at, 0, at + _OVERSAMPLING - 1, side), fill=_GRID)

    def place(x: float, y: float) -> tuple[float, float]:
        return x * (side - 1), (1 - y / most) * (side - 1)

    draw.line(
        _drop_close_points([place(x, y) for x, y in zip(*curve, strict=True)]),
        _LINE,
        2 * _OVERSAMPLING,
    )
    x, y = place(*mark)
    radius = 5 * _OVERSAMPLING
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINT)
    return image.resize((_SIDE_PIXELS, _SIDE_PIXELS), Image.Resampling.LANCZOS)


def _drop_close_points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep points that are a pixel apart, the first and the last."""
    kept = [points[0]]
    for point in points[1:]:
        if max(abs(point[0] - kept[-1][0]), abs(point[1] - kept[-1][1])) >= 1:
            kept.append(point)
    return [*kept, points[-1]]


def _round_up(value: float) -> float:
    """Return the end of an axis that holds a share."""
    return next((end for end in (0.04, 0.1, 0.2, 0.4, 0.6) if value <= end), 1.0)


def _draw_upwards(image: Image.Image, text: str, centre: tuple[int, int], font: Font) -> None:
    sized = font.get_font(_SMALL)
    box = ImageDraw.Draw(image).textbbox((0, 0), text, sized)
    strip = Image.new("RGB", (round(box[2]) + 2, round(box[3]) + 2), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, _FAINT, sized)
    turned = strip.rotate(90, expand=True)
    image.paste(turned, (centre[0], centre[1] - turned.height // 2))
