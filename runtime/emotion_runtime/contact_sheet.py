"""A grid of pictures with what the network says of them, for a person who would rather look."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from emotion_runtime.atomic import replacing
from emotion_runtime.errors import PictureError
from emotion_runtime.prediction import UNCERTAIN, Prediction
from emotion_runtime.preprocessing import read_face

MOST = 120  # pictures on a sheet: about what one screen shows
COLUMNS = 12
_FACE, _TEXT, _GAP, _HEAD = 96, 30, 8, 34
_INK, _FAINT, _RED, _AMBER, _PAPER = "#1b1b1b", "#6b6b6b", "#b03020", "#9a6700", "#ffffff"


class ContactSheet:
    """Collects predictions and draws a sheet of them; of more than `MOST`, a sample is drawn.

    Args:
        path: The picture to write; its suffix says the format.
        seed: Seeds the sample.
    """

    def __init__(self, path: Path, *, seed: int = 0) -> None:
        self._path = path
        self._random = random.Random(seed)
        self._kept: list[tuple[int, Prediction]] = []
        self._counts: Counter[str] = Counter()

    def add(self, prediction: Prediction) -> None:
        """Consider one prediction (reservoir sampling, Vitter's algorithm R)."""
        number = self._counts.total()
        self._counts[prediction.label or "unreadable"] += 1
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
        draw.text((_GAP, 9), self._title(len(shown)), _INK, ImageFont.load_default(14))
        for place, prediction in enumerate(shown):
            row, column = divmod(place, columns)
            corner = (_GAP + column * (_FACE + _GAP), _HEAD + row * (_FACE + _TEXT + _GAP))
            _draw_face(sheet, draw, corner, prediction)
        with replacing(self._path) as temporary:
            sheet.save(temporary)

    def _title(self, shown: int) -> str:
        total = self._counts.total()
        parts = ", ".join(f"{name} {count:,}" for name, count in self._counts.most_common())
        drawn = f" ({shown} drawn by chance)" if shown < total else ""
        return f"{total:,} pictures: {parts}{drawn}"


def _draw_face(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], prediction: Prediction
) -> None:
    left, top = corner
    face = None
    if prediction.label is not None and prediction.path is not None:
        # The gray central square that the network sees, at a size that a person sees.
        with contextlib.suppress(PictureError):  # gone since it was classified
            face = read_face(prediction.path, _FACE)
    if face is None:
        draw.rectangle((left, top, left + _FACE - 1, top + _FACE - 1), outline=_RED)
    else:
        sheet.paste(Image.fromarray(face), corner)
    if prediction.label is None or prediction.path is None:
        colour, text = _RED, "unreadable"
    else:
        colour = _AMBER if prediction.label == UNCERTAIN else _INK
        text = f"{prediction.label} {prediction.confidence or 0:.0%}"
    draw.text((left, top + _FACE + 2), text, colour, ImageFont.load_default(12))
    name = Path(prediction.path or "").name.encode("ascii", "replace").decode()
    draw.text((left, top + _FACE + 16), _shortened(name), _FAINT, ImageFont.load_default(10))


def _shortened(name: str) -> str:
    """Keep the end of a long name: numbers stand there."""
    return name if len(name) <= 18 else "…" + name[-17:]
