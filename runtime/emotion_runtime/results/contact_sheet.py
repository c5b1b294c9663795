"""A contact sheet: a grid of pictures with their labels, for a check by eye."""

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

MAX_PICTURES = 120  # on a sheet: about what one screen shows
COLUMNS = 12
_FACE, _LINE, _GAP, _TITLE = 96, 14, 8, 34  # pixels
_CAPTION_SIZE = 12  # pixels
_ARROW = " → "
_INK, _FAINT, _RED, _AMBER, _PAPER = "#1b1b1b", "#6b6b6b", "#b03020", "#9a6700", "#ffffff"

Mistake: TypeAlias = "tuple[str, str] | None"  # the true and the predicted label


class ContactSheet:
    """Collects predictions and draws a sheet of them; of more than `MAX_PICTURES`, a random sample.

    With faces of photographs, the sheet shows the crops that the network received, and the title
    counts the photographs without a face.

    Args:
        path: The picture to write; its suffix decides its format.
        font: Draws labels and file names; None for the shipped font.
        seed: Seed of the random sample.
        title: The title; None for the number of pictures of each label.
    """

    def __init__(
        self, path: Path, *, font: Font | None = None, seed: int = 0, title: str | None = None
    ) -> None:
        self._path, self._title = path, title
        self._font = Font() if font is None else font
        self._random = random.Random(seed)
        self._sample: list[tuple[int, Prediction, Mistake]] = []
        self._counts: Counter[str] = Counter()
        self._pictures_without_face = 0
        self._has_faces = False

    def add(self, prediction: Prediction, mistake: Mistake = None) -> None:
        """Add one prediction to the sample (reservoir sampling, Vitter's algorithm R).

        Args:
            prediction: The prediction.
            mistake: The true and the predicted label, where these are the caption.
        """
        self._has_faces = self._has_faces or isinstance(prediction, FacePrediction)
        if prediction.outcome == NO_FACE:
            self._pictures_without_face += 1
            return
        number = self._counts.total()
        self._counts[prediction.outcome if mistake is None else _ARROW.join(mistake)] += 1
        if number < MAX_PICTURES:
            self._sample.append((number, prediction, mistake))
        elif (index := self._random.randrange(number + 1)) < MAX_PICTURES:
            self._sample[index] = (number, prediction, mistake)

    def save(self) -> None:
        """Draw the sheet.

        Raises:
            OutputError: It cannot be written.
        """
        shown = sorted(self._sample, key=lambda one: one[0])
        # All cells have one height: that of the longest caption.
        captions = [self._make_caption(prediction, mistake) for _, prediction, mistake in shown]
        lines = max(map(len, captions), default=1)
        height = _FACE + (lines + 1) * _LINE + 2 + _GAP
        columns = min(COLUMNS, max(4, len(shown)))
        rows = -(-len(shown) // columns)
        width = _GAP + columns * (_FACE + _GAP)
        sheet = Image.new("RGB", (width, _TITLE + rows * height), _PAPER)
        draw = ImageDraw.Draw(sheet)
        title = self._font.fit_text(self._make_title(len(shown)), 14, width - 2 * _GAP, tail=" ")
        draw.text((_GAP, 9), title, _INK, self._font.get_font(14))
        for index, ((_, prediction, _), caption) in enumerate(zip(shown, captions, strict=True)):
            row, column = divmod(index, columns)
            corner = (_GAP + column * (_FACE + _GAP), _TITLE + row * height)
            _draw_face(sheet, draw, corner, prediction, caption, self._font)
        with write_atomically(self._path) as temporary:
            sheet.save(temporary)

    def _make_caption(self, prediction: Prediction, mistake: Mistake) -> list[str]:
        """Return the lines below a picture, each at most as wide as the picture."""
        if prediction.label is None or prediction.path is None:
            return [self._font.fit_text(UNREADABLE, _CAPTION_SIZE, _FACE)]
        percent = f" {prediction.confidence or 0:.0%}"
        if mistake is None:
            return [self._font.fit_text(prediction.label, _CAPTION_SIZE, _FACE, percent)]
        true, predicted = map(self._font.prepare_text, mistake)
        line = f"{true}{_ARROW}{predicted}{percent}"
        if self._font.get_font(_CAPTION_SIZE).getlength(line) <= _FACE:
            return [line]
        return [
            self._font.fit_text(true, _CAPTION_SIZE, _FACE, " "),
            self._font.fit_text(f"{_ARROW.strip()} {predicted}", _CAPTION_SIZE, _FACE, percent),
        ]

    def _make_title(self, shown: int) -> str:
        if self._title is not None:
            return self._title
        total = self._counts.total()
        parts = ", ".join(f"{name} {count:,}" for name, count in self._counts.most_common())
        drawn = f" ({shown} drawn by chance)" if shown < total else ""
        if not self._has_faces:
            noun = "wrong picture" if any(mistake for *_, mistake in self._sample) else "picture"
            return f"{format_count(total, noun)}: {parts}{drawn}"
        faces = format_count(total - self._counts[UNREADABLE], "face")
        others = ""
        if self._pictures_without_face:
            others = f"; {format_count(self._pictures_without_face, 'picture')} without a face"
        return f"{faces}: {parts}{drawn}{others}" if total else f"{faces}{others}"


def _draw_face(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    prediction: Prediction,
    caption: list[str],
    font: Font,
) -> None:
    """Draw one cell: the picture, its caption and its file name."""
    left, top = corner
    face = None if prediction.label is None else _load_picture(prediction)
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


def _load_picture(prediction: Prediction) -> Image.Image | None:
    """Return the picture of a prediction; None where it can no longer be read."""
    if isinstance(prediction, FacePrediction) and prediction.crop is not None:
        return Image.fromarray(prediction.crop).resize((_FACE, _FACE), Image.Resampling.BICUBIC)
    if prediction.path is None:
        return None
    try:
        if isinstance(prediction, FacePrediction) and prediction.box is not None:
            return Image.fromarray(_crop_again(prediction.path, prediction.box))
        # The gray central square that the network receives, at a larger size.
        return Image.fromarray(read_face(prediction.path, _FACE))
    except PictureError:
        return None


def _crop_again(path: str, box: tuple[int, int, int, int]) -> Pixels:
    """Crop a face that an earlier run classified, by the box in its results.

    Raises:
        PictureError: The picture cannot be read.
    """
    from emotion_runtime.faces.cropping import crop_face
    from emotion_runtime.faces.detection import Box

    gray = process_picture(
        path, lambda image: np.asarray(flatten(turn_upright(image)).convert("L"))
    )
    return crop_face(gray, Box(*box), _FACE)
