"""Draw the ROC curve and the risk–coverage curve of the output `other` with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emotion_runtime.drawing.fonts import Font
from emotion_runtime.drawing.vertical_text import draw_vertical_text
from emotion_runtime.evaluate.open_set import OpenSet

_SIDE_PIXELS, _MARGIN_PIXELS, _GAP_PIXELS = 320, 24, 96
_LEFT_PIXELS, _TOP_PIXELS, _BOTTOM_PIXELS = 76, 96, 64
_LARGE, _MIDDLE, _SMALL = 18, 15, 13  # sizes of the text in pixels
_OVERSAMPLING = 3  # plots are drawn this many times as large and reduced, for smooth edges
_INK, _FAINT, _PAPER, _GRID, _LINE, _POINT = (
    *("#1b1b1b", "#6b6b6b", "#ffffff", "#e4e4e4", "#005aa0", "#b03020"),
)

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


class _Panel(NamedTuple):
    """One curve with its texts.

    Attributes:
        title: Text above the curve.
        x_label: Text below the horizontal axis.
        y_label: Text beside the vertical axis.
        curve: The x and y values.
        mark: The point of the threshold, x and y.
        y_max: End of the vertical axis.
    """

    title: str
    x_label: str
    y_label: str
    curve: Curve
    mark: tuple[float, float]
    y_max: float


def draw_curves(
    open_set: OpenSet, threshold: float, title: str, font: Font | None = None
) -> Image.Image:
    """Draw the ROC curve of `other` beside its risk–coverage curve, the threshold marked on both.

    Args:
        open_set: The output on faces of the labels and of other classes, at least one of each.
        threshold: The threshold of `other` in use.
        title: One line above the curves.
        font: Font of the text; None for the bundled font.

    Returns:
        An RGB image.
    """
    font = Font() if font is None else font
    width = 2 * _MARGIN_PIXELS + 2 * (_LEFT_PIXELS + _SIDE_PIXELS) + _GAP_PIXELS - _LEFT_PIXELS
    height = _TOP_PIXELS + _SIDE_PIXELS + _BOTTOM_PIXELS + _MARGIN_PIXELS
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    fitted_title = font.fit_text(title, _LARGE, width - 2 * _MARGIN_PIXELS, " ").rstrip()
    draw.text((_MARGIN_PIXELS, _MARGIN_PIXELS), fitted_title, _INK, font.get_font(_LARGE))
    for index, panel in enumerate(_make_panels(open_set, threshold)):
        left = _MARGIN_PIXELS + _LEFT_PIXELS + index * (_SIDE_PIXELS + _GAP_PIXELS)
        _draw_panel(image, panel, left, font)
    note = f"the point is the threshold {threshold:g}"
    position = (width - _MARGIN_PIXELS, height - 20)
    draw.text(position, note, _POINT, font.get_font(_SMALL), anchor="rs")
    return image


def _make_panels(open_set: OpenSet, threshold: float) -> tuple[_Panel, _Panel]:
    point = open_set.at(threshold)
    count, total = point.named + point.others_named, point.known + point.others
    curve = open_set.risk_coverage()
    roc = _Panel(
        title=f"ROC curve, area {open_set.auroc() or 0.0:.3f}",
        x_label="share of the other faces that is named",
        y_label="share of the faces of the labels that is named",
        curve=open_set.roc(),
        mark=(point.others_named / point.others, point.named / point.known),
        y_max=1.0,
    )
    risk_coverage = _Panel(
        title="risk–coverage curve",
        x_label=f"share of all {total:,} faces that is named",
        y_label="share of the named faces that is wrong",
        curve=curve,
        mark=(count / total, 1 - point.named_correctly / count if count else 0.0),
        y_max=_round_up(float(curve[1].max())),
    )
    return roc, risk_coverage


def _draw_panel(image: Image.Image, panel: _Panel, left: int, font: Font) -> None:
    """Draw a curve with its texts, its left edge at `left`."""
    draw = ImageDraw.Draw(image)
    image.paste(_draw_plot(panel.curve, panel.mark, panel.y_max), (left, _TOP_PIXELS))
    bottom = _TOP_PIXELS + _SIDE_PIXELS
    draw.text((left, _TOP_PIXELS - 10), panel.title, _INK, font.get_font(_MIDDLE), anchor="ls")
    small = font.get_font(_SMALL)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        offset = share * (_SIDE_PIXELS - 1)
        draw.text((left + offset, bottom + 6), f"{share:.0%}", _FAINT, small, anchor="ma")
        y = share * panel.y_max
        text = f"{y:.0%}" if panel.y_max >= 0.1 else f"{y:.1%}"
        draw.text((left - 6, bottom - offset), text, _FAINT, small, anchor="rm")
    middle = left + _SIDE_PIXELS / 2
    draw.text((middle, bottom + 26), panel.x_label, _FAINT, small, anchor="ma")
    draw_vertical_text(
        image,
        panel.y_label,
        (left - _LEFT_PIXELS + 4, _TOP_PIXELS + _SIDE_PIXELS // 2),
        font=font,
        pixels=_SMALL,
        colour=_FAINT,
        background=_PAPER,
    )


def _draw_plot(curve: Curve, mark: tuple[float, float], y_max: float) -> Image.Image:
    """Draw a curve over a grid; x from 0 to 1, y from 0 to `y_max`."""
    side = _SIDE_PIXELS * _OVERSAMPLING
    image = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(image)
    for step in range(5):
        at = round(step / 4 * (side - _OVERSAMPLING))
        draw.rectangle((0, at, side, at + _OVERSAMPLING - 1), fill=_GRID)
        draw.rectangle((at, 0, at + _OVERSAMPLING - 1, side), fill=_GRID)

    def place(x: float, y: float) -> tuple[float, float]:
        return x * (side - 1), (1 - y / y_max) * (side - 1)

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
    """Return the first and last point, and those between that are at least a pixel apart."""
    kept = [points[0]]
    for point in points[1:]:
        if max(abs(point[0] - kept[-1][0]), abs(point[1] - kept[-1][1])) >= 1:
            kept.append(point)
    return [*kept, points[-1]]


def _round_up(value: float) -> float:
    """Return the end of an axis for values up to `value`, a share."""
    return next((end for end in (0.04, 0.1, 0.2, 0.4, 0.6) if value <= end), 1.0)
