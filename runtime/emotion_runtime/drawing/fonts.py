"""The font of text on pictures, which records the characters that it cannot draw.

The bundled font is DejaVu Sans with Latin, Greek and Cyrillic, in ``dejavu/`` with its licence;
``scripts/build_font.py`` builds it.
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
_PROBE_PIXELS = 24  # large enough to tell the glyphs of any two characters apart
_UNASSIGNED_CHARACTER = "\uffff"  # drawn as the font's glyph for missing characters
_MAX_NAMED_CHARACTERS = 10

_PillowFont: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"


class Font:
    """Fits text for drawing, and records the characters that the font lacks.

    Args:
        path: A TrueType or OpenType file; None for the bundled font.

    Raises:
        OutputError: The file is not a font that Pillow can read, or this Pillow cannot read fonts.
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
            OutputError: The file is not a font that Pillow can read.
        """
        if not self._scalable:
            return ImageFont.load_default()
        if (font := self._fonts_by_size.get(size)) is not None:
            return font
        try:
            self._fonts_by_size[size] = ImageFont.truetype(os.fspath(self._path), size)
            return self._fonts_by_size[size]
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise OutputError(
                f"{self._path}: not a font that Pillow can draw with ({reason})."
            ) from error

    def prepare_text(self, text: str) -> str:
        """Return text as it will be drawn: normalised (NFC), with controls as escapes.

        `describe_missing` names the characters that the font lacks.
        """
        text = escape_controls(unicodedata.normalize("NFC", text))
        for character in dict.fromkeys(text):
            if not self._has_glyph(character):
                self._missing[character] = None
        # The bitmap font of a Pillow without FreeType raises for characters that it lacks.
        return text if self._scalable else text.encode("latin-1", "replace").decode("latin-1")

    def fit_text(self, text: str, size: float, width: float, tail: str = "") -> str:
        """Return text as it will be drawn, shortened where it is wider than `width`.

        Args:
            text: Any text. It is shortened at its beginning, because names often end in numbers;
                with a tail at its end.
            size: Size of the font in pixels.
            width: Available width in pixels.
            tail: Text after `text` that is never shortened.
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
        """Return a sentence about the characters that could not be drawn; None without any."""
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
        if unicodedata.category(character) in ("Cf", "Zs"):  # invisible
            return True
        if not self._scalable:
            return ord(character) < 256
        return self._render_glyph(character) != self._missing_glyph

    @functools.cached_property
    def _missing_glyph(self) -> bytes:
        return self._render_glyph(_UNASSIGNED_CHARACTER)

    def _render_glyph(self, character: str) -> bytes:
        """Return the pixels of a character's glyph."""
        image = Image.new("L", (3 * _PROBE_PIXELS, 3 * _PROBE_PIXELS))
        where = (_PROBE_PIXELS, _PROBE_PIXELS)
        ImageDraw.Draw(image).text(where, character, 255, self.get_font(_PROBE_PIXELS))
        return image.tobytes()
