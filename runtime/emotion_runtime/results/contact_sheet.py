"""A grid of pictures with what the network says of them, for a person who would rather look."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from emotion_runtime.atomic import write_atomically
from emotion_runtime.drawing.fonts import Font
from emotion_runtime.errors import PictureError
from emotion_runtime.pictures.preprocessing import (
    Pixels,
    flatten,
    process_picture,
    read_face,
    turn_upright,
)
from emotion_runtime.prediction import (
    NO_FACE,
    OTHER,
    UNCERTAIN,
    UNREADABLE,
    FacePrediction,
    Prediction,
    format_count,
)

MOST = 120  # pictures on a sheet: about what one screen shows
COLUMNS = 12
_FACE, _LINE, _GAP, _HEAD = 96, 14, 8, 34  # pixels
_CAPTION_SIZE = 12  # pixels
_ARROW = " → "
_INK, _FAINT, _RED, _AMBER, _PAPER = "#1b1b1b", "#6b6b6b", "#b03020", "#9a6700", "#ffffff"

Wrong: TypeAlias = "tuple[str, str] | None"


class ContactSheet:
    """Collects predictions and draws a sheet of them; of more than `MOST`, a sample is drawn.

    Of photographs whose faces were found, the faces are shown, as the network saw them; those
    without a face are counted in the title.

    Args:
        path: The picture to write; its suffix says the format.
        font: Draws labels and file names; None for the font that ships.
        seed: Seeds the sample.
    """

    def __init__(self, path: Path, *, font: Font | None = None, seed: int = 0) -> None:
        self._path = path
        self._font = Font() if font is None else font
        self._random = random.Random(seed)
        self._kept: list[tuple[int, Prediction, Wrong]] = []
        self._counts: Counter[str] = Counter()
        self._faceless = 0
        self._faces = False

    def add(self, prediction: Prediction, wrong: Wrong = None) -> None:
        """Consider one prediction (reservoir sampling, Vitter's algorithm R).

        Args:
            prediction: The prediction.
            wrong: The true and the predicted label, where these are the caption.
        """
        self._faces = self._faces or isinstance(prediction, FacePrediction)
        if prediction.outcome == NO_FACE:
            self._faceless += 1
            return
        number = self._counts.total()
        self._counts[prediction.outcome if wrong is None else _ARROW.join(wrong)] += 1
        if number < MOST:
            self._kept.append((number, prediction, wrong))
        elif (place := self._random.randrange(number + 1)) < MOST:
            self._kept[place] = (number, prediction, wrong)

    def save(self) -> None:
        """Draw the sheet.

        Raises:
            OutputError: It cannot be written.
        """
        shown = sorted(self._kept, key=lambda one: one[0])
        # All cells of a sheet are alike: a caption of two lines wants room below each picture.
        captions = [self._caption(prediction, wrong) for _, prediction, wrong in shown]
        lines = max(map(len, captions), default=1)
        height = _FACE + (lines + 1) * _LINE + 2 + _GAP
        columns = min(COLUMNS, max(4, len(shown)))
        rows = -(-len(shown) // columns)
        width = _GAP + columns * (_FACE + _GAP)
        sheet = Image.new("RGB", (width, _HEAD + rows * height), _PAPER)
        draw = ImageDraw.Draw(sheet)
        title = self._font.fit_text(self._title(len(shown)), 14, width - 2 * _GAP, tail=" ")
        draw.text((_GAP, 9), title, _INK, self._font.get_font(14))
        for place, ((_, prediction, _), caption) in enumerate(zip(shown, captions, strict=True)):
            row, column = divmod(place, columns)
            corner = (_GAP + column * (_FACE + _GAP), _HEAD + row * height)
            _draw_face(sheet, draw, corner, prediction, caption, self._font)
        with write_atomically(self._path) as temporary:
            sheet.save(temporary)

    def _caption(self, prediction: Prediction, wrong: Wrong) -> list[str]:
        """Return the lines below a picture, each as wide as the picture at most."""
        if prediction.label is None or prediction.path is None:
            return [self._font.fit_text(UNREADABLE, _CAPTION_SIZE, _FACE)]
        share = f" {prediction.confidence or 0:.0%}"
        if wrong is None:
            return [self._font.fit_text(prediction.label, _CAPTION_SIZE, _FACE, share)]
        true, predicted = map(self._font.prepare_text, wrong)
        line = f"{true}{_ARROW}{predicted}{share}"
        if self._font.get_font(_CAPTION_SIZE).getlength(line) <= _FACE:
            return [line]
        return [
            self._font.fit_text(true, _CAPTION_SIZE, _FACE, " "),
            self._font.fit_text(f"{_ARROW.strip()} {predicted}", _CAPTION_SIZE, _FACE, share),
        ]

    def _title(self, shown: int) -> str:
        total = self._counts.total()
        parts = ", ".join(f"{name} {count:,}" for name, count in self._counts.most_common())
        drawn = f" ({shown} drawn by chance)" if shown < total else ""
        if not self._faces:
            noun = "wrong picture" if any(wrong for *_, wrong in self._kept) else "picture"
            return f"{format_count(total, noun)}: {parts}{drawn}"
        faces = format_count(total - self._counts[UNREADABLE], "face")
        none = (
            f"; {format_count(self._faceless, 'picture')} without a face" if self._faceless else ""
        )
        return f"{faces}: {parts}{drawn}{none}" if total else f"{faces}{none}"


def _draw_face(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    prediction: Prediction,
    caption: list[str],
    font: Font,
) -> None:
    left, top = corner
    face = None if prediction.label is None else _picture_of(prediction)
    if face is None:
        draw.rectangle((left, top, left + _FACE - 1, top + _FACE - 1), outline=_RED)
    else:
        sheet.paste(face, corner)
    colour = {UNCERTAIN: _AMBER, OTHER: _FAINT}.get(prediction.label or "", _INK)
    if prediction.label is None or prediction.path is None:
        colour = _RED
    below = top + _FACE + 2
    for line in caption:
        draw.text((left, below), line, colour, font.get_font(_CAPTION_SIZE))
        below += _LINE
    name = font.fit_text(Path(prediction.path or "").name, 10, _FACE)
    draw.text((left, below), name, _FAINT, font.get_font(10))


def _picture_of(prediction: Prediction) -> Image.Image | None:
    """Return what is shown of a prediction; None where its picture is gone since."""
    if isinstance(prediction, FacePrediction) and prediction.crop is not None:
        return Image.fromarray(prediction.crop).resize((_FACE, _FACE), Image.Resampling.BICUBIC)
    if prediction.path is None:
        return None
    try:
        if isinstance(prediction, FacePrediction) and prediction.box is not None:
            return Image.fromarray(_cut_again(prediction.path, prediction.box))
        # The gray central square that the network sees, at a size that a person sees.
        return Image.fromarray(read_face(prediction.path, _FACE))
    except PictureError:
        return None


def _cut_again(path: str, box: tuple[int, int, int, int]) -> Pixels:
    """Cut a face that an earlier run classified out of its picture, by the box that was written.

    Raises:
        PictureError: The picture cannot be read.
    """
    from emotion_runtime.faces.detection import Box
    from emotion_runtime.faces.finder import crop

    gray = process_picture(
        path, lambda image: np.asarray(flatten(turn_upright(image)).convert("L"))
    )
    return crop(gray, Box(*box), _FACE)
