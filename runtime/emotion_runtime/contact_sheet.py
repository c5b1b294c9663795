"""A grid of pictures with what the network says of them, for a person who would rather look."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from emotion_runtime.atomic import replacing
from emotion_runtime.errors import PictureError
from emotion_runtime.fonts import Font
from emotion_runtime.prediction import (
    NO_FACE,
    UNCERTAIN,
    UNREADABLE,
    FacePrediction,
    Prediction,
    counted,
)
from emotion_runtime.preprocessing import Pixels, flattened, opened, read_face, upright

MOST = 120  # pictures on a sheet: about what one screen shows
COLUMNS = 12
_FACE, _TEXT, _GAP, _HEAD = 96, 30, 8, 34
_INK, _FAINT, _RED, _AMBER, _PAPER = "#1b1b1b", "#6b6b6b", "#b03020", "#9a6700", "#ffffff"


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
        self._kept: list[tuple[int, Prediction]] = []
        self._counts: Counter[str] = Counter()
        self._faceless = 0
        self._faces = False

    def add(self, prediction: Prediction) -> None:
        """Consider one prediction (reservoir sampling, Vitter's algorithm R)."""
        self._faces = self._faces or isinstance(prediction, FacePrediction)
        if prediction.outcome == NO_FACE:
            self._faceless += 1
            return
        number = self._counts.total()
        self._counts[prediction.outcome] += 1
        if number < MOST:
            self._kept.append((number, prediction))
        elif (place := self._random.randrange(number + 1)) < MOST:
            self._kept[place] = (number, prediction)

    def save(self) -> None:
        """Draw the sheet.

        Raises:
            OutputError: It cannot be written.
        """
        shown = [prediction for _, prediction in sorted(self._kept, key=lambda pair: pair[0])]
        columns = min(COLUMNS, max(4, len(shown)))
        rows = -(-len(shown) // columns)
        width = _GAP + columns * (_FACE + _GAP)
        sheet = Image.new("RGB", (width, _HEAD + rows * (_FACE + _TEXT + _GAP)), _PAPER)
        draw = ImageDraw.Draw(sheet)
        title = self._font.fitted(self._title(len(shown)), 14, width - 2 * _GAP, tail=" ")
        draw.text((_GAP, 9), title, _INK, self._font.sized(14))
        for place, prediction in enumerate(shown):
            row, column = divmod(place, columns)
            corner = (_GAP + column * (_FACE + _GAP), _HEAD + row * (_FACE + _TEXT + _GAP))
            _draw_face(sheet, draw, corner, prediction, self._font)
        with replacing(self._path) as temporary:
            sheet.save(temporary)

    def _title(self, shown: int) -> str:
        total = self._counts.total()
        parts = ", ".join(f"{name} {count:,}" for name, count in self._counts.most_common())
        drawn = f" ({shown} drawn by chance)" if shown < total else ""
        if not self._faces:
            return f"{total:,} pictures: {parts}{drawn}"
        faces = counted(total - self._counts[UNREADABLE], "face")
        none = f"; {counted(self._faceless, 'picture')} without a face" if self._faceless else ""
        return f"{faces}: {parts}{drawn}{none}" if total else f"{faces}{none}"


def _draw_face(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    prediction: Prediction,
    font: Font,
) -> None:
    left, top = corner
    face = None if prediction.label is None else _picture_of(prediction)
    if face is None:
        draw.rectangle((left, top, left + _FACE - 1, top + _FACE - 1), outline=_RED)
    else:
        sheet.paste(face, corner)
    if prediction.label is None or prediction.path is None:
        colour, text, share = _RED, UNREADABLE, ""
    else:
        colour = _AMBER if prediction.label == UNCERTAIN else _INK
        text, share = prediction.label, f" {prediction.confidence or 0:.0%}"
    name = Path(prediction.path or "").name
    for line, tail, ink, size, down in (
        (text, share, colour, 12, 2),
        (name, "", _FAINT, 10, 16),
    ):
        fitted = font.fitted(line, size, _FACE, tail)
        draw.text((left, top + _FACE + down), fitted, ink, font.sized(size))


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
    from emotion_runtime.detection import Box
    from emotion_runtime.faces import crop

    gray = opened(path, lambda image: np.asarray(flattened(upright(image)).convert("L")))
    return crop(gray, Box(*box), _FACE)
