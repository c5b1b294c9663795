"""Text on pictures: which font draws it, and which characters cannot be drawn.

The font that ships is DejaVu Sans with Latin, Greek and Cyrillic: ``dejavu/``, with its licence,
made by ``scripts/build_font.py``.
"""

from __future__ import annotations

import functools
import os
import unicodedata
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import format_count
from emotion_runtime.terminal import escape_controls

DEFAULT_FONT_PATH = Path(__file__).parent / "dejavu" / "DejaVuSans.ttf"
_PROBE_PIXELS = 24  # pixels: large enough that the forms of two characters differ
_UNASSIGNED_CHARACTER = "\uffff"  # no font has a form for it: the font's sign for what it lacks
_MAX_NAMED_CHARACTERS = 10  # characters that a note names

_PillowFont: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"


class Font:
    """Draws text, and remembers which characters it had no form for.

    Args:
        path: A TrueType or OpenType file; None for the font that ships.

    Raises:
        OutputError: The file is no font that Pillow can read, or this Pillow cannot read fonts.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = DEFAULT_FONT_PATH if path is None else Path(path)
        self._missing: dict[str, None] = {}  # a set that keeps its order
        self._has_glyph_of: dict[str, bool] = {}
        self._fonts_by_size: dict[float, ImageFont.FreeTypeFont] = {}
        self._scalable = True
        if path is not None and not self._path.is_file():
            raise OutputError(f"{self._path}: no such font file.")
        try:
            self.get_font(_PROBE_PIXELS)
        except ImportError as error:  # a Pillow that was built without FreeType
            if path is not None:
                raise OutputError(
                    f"{self._path}: cannot be used, because this Pillow was built without FreeType."
                ) from error
            self._scalable = False

    def get_font(self, size: float) -> _PillowFont:
        """Return the Pillow font of a size in pixels.

        Raises:
            OutputError: The file is no font that Pillow can read.
        """
        if not self._scalable:
            return ImageFont.load_default()
        if (there := self._fonts_by_size.get(size)) is not None:
            return there
        try:
            self._fonts_by_size[size] = ImageFont.truetype(os.fspath(self._path), size)
            return self._fonts_by_size[size]
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise OutputError(
                f"{self._path}: not a font that Pillow can draw with ({reason})."
            ) from error

    def prepare_text(self, text: str) -> str:
        """Return text as it will be drawn; controls are shown as escapes.

        Letters and their accents are joined (NFC). `describe_missing` names the characters that
        the font lacks.
        """
        text = escape_controls(unicodedata.normalize("NFC", text))
        for character in dict.fromkeys(text):
            if not self._has_glyph(character):
                self._missing[character] = None
        # The bitmap font of a Pillow without FreeType refuses what it lacks.
        return text if self._scalable else text.encode("latin-1", "replace").decode("latin-1")

    def fit_text(self, text: str, size: float, width: float, tail: str = "") -> str:
        """Return text as it will be drawn, shortened where it is wider than `width`.

        Args:
            text: Any text. What is left out is its beginning, because names end in numbers; with
                a tail it is the end.
            size: Of the font, in pixels.
            width: In pixels.
            tail: Follows the text, and is never left out.
        """
        text, tail, font = self.prepare_text(text), self.prepare_text(tail), self.get_font(size)
        if font.getlength(text + tail) <= width:
            return text + tail
        dots = "…" if self._scalable else "..."
        for kept in range(len(text) - 1, 0, -1):
            short = text[:kept] + dots + tail if tail else dots + text[-kept:]
            if font.getlength(short) <= width:
                return short
        return dots + tail

    def describe_missing(self) -> str | None:
        """Say which characters could not be drawn so far; None where all could."""
        if not self._missing:
            return None
        names = ", ".join(
            f"{character} (U+{ord(character):04X})"
            for character in list(self._missing)[:_MAX_NAMED_CHARACTERS]
        )
        more = len(self._missing) - _MAX_NAMED_CHARACTERS
        text = (
            f"{format_count(len(self._missing), 'character')} cannot be drawn by "
            f"{self._path.name if self._scalable else 'this Pillow, built without FreeType'}: "
            f"{names}{f' and {more:,} more' if more > 0 else ''}"
        )
        return text + ("; --font FILE names a font that has them" if self._scalable else "")

    def _has_glyph(self, character: str) -> bool:
        if character not in self._has_glyph_of:
            self._has_glyph_of[character] = self._check_glyph(character)
        return self._has_glyph_of[character]

    def _check_glyph(self, character: str) -> bool:
        if unicodedata.category(character) in ("Cf", "Zs"):  # nothing to see
            return True
        if not self._scalable:
            return ord(character) < 256
        return self._render_glyph(character) != self._missing_glyph

    @functools.cached_property
    def _missing_glyph(self) -> bytes:
        return self._render_glyph(_UNASSIGNED_CHARACTER)

    def _render_glyph(self, character: str) -> bytes:
        """Return the pixels of a character."""
        image = Image.new("L", (3 * _PROBE_PIXELS, 3 * _PROBE_PIXELS))
        where = (_PROBE_PIXELS, _PROBE_PIXELS)
        ImageDraw.Draw(image).text(where, character, 255, self.get_font(_PROBE_PIXELS))
        return image.tobytes()
