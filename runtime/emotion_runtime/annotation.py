"""Copies of pictures with a box around each face, and what the network says of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from emotion_runtime.atomic import creating
from emotion_runtime.errors import OutputError, PictureError
from emotion_runtime.fonts import Font
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.preprocessing import opened, to_rgb, upright
from emotion_runtime.sorting import inside_roots

# Okabe and Ito's colours, which colour-blind people tell apart too; the classes take them in turn.
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00")
_GRAY, _INK, _PAPER = "#bbbbbb", "#000000", "#ffffff"
_KEEP = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"}  # others become PNG


def draw_faces(
    image: Image.Image,
    predictions: Sequence[FacePrediction],
    labels: Sequence[str],
    font: Font | None = None,
) -> None:
    """Draw boxes and labels into an RGB image, legible on any background.

    Args:
        image: Upright, as the boxes are.
        predictions: Those without a box are passed over.
        labels: The model's; they say which colour a label has. ``other`` and ``uncertain`` are
            drawn in gray.
        font: Draws the labels; None for the font that ships.
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
        # A dark line on both sides: the colour stands out from light and dark alike.
        edge = (x - line, y - line, x + width + line, y + height + line)
        draw.rectangle(edge, outline=_INK, width=3 * line)
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        share = f" {one.confidence or 0:.0%}"
        _draw_label(draw, image.size, box, one.label, share, colour, line, font)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    label: str,
    share: str,
    colour: str,
    line: int,
    font: Font,
) -> None:
    """Write the label above the box; below it, or within, where the picture ends."""
    x, y, width, height = box
    points = round(min(max(12, width / 7), max(12, size[0] / 20)))
    pad = max(2, line)
    drawn_by = font.sized(points)
    text = font.fitted(label, points, size[0] - 2 * pad, share)
    left, top, right, bottom = (round(value) for value in draw.textbbox((0, 0), text, drawn_by))
    wide, high = right - left + 2 * pad, bottom - top + 2 * pad
    at_x = max(0, min(x - line, size[0] - wide))
    at_y = y - line - high
    if at_y < 0:
        at_y = y + height + line
        if at_y + high > size[1]:
            at_y = max(0, y)
    draw.rectangle((at_x, at_y, at_x + wide, at_y + high), fill=colour, outline=_INK)
    draw.text((at_x + pad - left, at_y + pad - top), text, _ink_on(colour), drawn_by)


def _ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else _PAPER


class AnnotatedCopies:
    """Writes ``FOLDER/<the picture's path under the folder named>`` for each picture.

    Nothing that is there is overwritten; an equal copy of an earlier run is left as it is.

    Args:
        folder: Where copies are made.
        roots: The files and folders that were named.
        labels: The model's.
        font: Draws the labels; None for the font that ships.

    Raises:
        OutputError: `folder` lies in a folder that is classified: it would be found in turn.
    """

    def __init__(
        self,
        folder: Path,
        roots: Sequence[str],
        labels: Sequence[str],
        font: Font | None = None,
    ) -> None:
        self._folder, self._labels = folder, tuple(labels)
        self._font = Font() if font is None else font
        self._relative = inside_roots(folder, roots)
        self._waiting: list[FacePrediction] = []

    def add(self, prediction: Prediction) -> None:
        """Take a face; a picture is drawn when the next one begins.

        Raises:
            OutputError: A copy cannot be written.
        """
        if not isinstance(prediction, FacePrediction):
            return
        if self._waiting and self._waiting[0].path != prediction.path:
            self.save()
        if prediction.error is None and prediction.path is not None:
            self._waiting.append(prediction)

    def save(self) -> None:
        """Draw the picture that waits.

        Raises:
            OutputError: The copy cannot be written.
        """
        if not self._waiting:
            return
        faces, self._waiting = self._waiting, []
        path = os.fspath(faces[0].path or "")
        target = self._folder / self._relative(path)
        if target.suffix.lower() not in _KEEP:
            target = target.with_name(target.name + ".png")
        if _is_same_file(path, target):
            raise OutputError(f"{target}: is the picture itself; name another folder.")
        try:
            image = opened(path, lambda one: to_rgb(upright(one)))
        except PictureError as error:  # gone since it was classified
            raise OutputError(f"{target}: cannot be drawn ({error})") from error
        draw_faces(image, faces, self._labels, self._font)
        with creating(target) as temporary:
            image.save(temporary, quality=92)


def _is_same_file(one: str, other: Path) -> bool:
    try:
        return other.samefile(one)
    except OSError:
        return False  # there is no other yet
