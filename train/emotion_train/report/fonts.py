"""Fonts for class names in the pictures of the report, also where matplotlib's font lacks them."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from matplotlib import font_manager, rc_context

from emotion_runtime.prediction import format_count

_DEFAULT_FAMILY = "DejaVu Sans"  # of matplotlib: Latin, Greek, Cyrillic, Arabic and more
_MAX_CHARACTERS_SHOWN = 10  # in a warning


@dataclass(frozen=True)
class Fonts:
    """Fonts for the texts of a picture.

    Attributes:
        families: Font families; the first one with a character draws it.
        missing: Characters that no family has, in the order of the texts.
    """

    families: tuple[str, ...]
    missing: tuple[str, ...]

    def describe_missing(self) -> str | None:
        """Return a warning about characters drawn as boxes, without a full stop, or None."""
        if not self.missing:
            return None
        names = ", ".join(
            f"{one} (U+{ord(one):04X})" for one in self.missing[:_MAX_CHARACTERS_SHOWN]
        )
        if (more := len(self.missing) - _MAX_CHARACTERS_SHOWN) > 0:
            names += f" and {more:,} more"
        boxes = format_count(len(self.missing), "character")
        return (
            f"the report's pictures show boxes for {boxes} of the class names that no installed "
            f"font has: {names}; install a font such as Noto Sans CJK, and run the command again "
            f"with --resume"
        )


def choose_fonts(texts: Sequence[str]) -> Fonts:
    """Return installed fonts that together have the characters of some texts.

    matplotlib's default font comes first, then fonts with the characters that it lacks.
    """
    wanted = dict.fromkeys(
        one for text in texts for one in text if unicodedata.category(one)[0] not in "CZ"
    )
    missing = _find_missing(font_manager.findfont(_DEFAULT_FAMILY), wanted)
    families = [_DEFAULT_FAMILY]
    if missing:
        _list_new_fonts()
    regular = [one for one in font_manager.fontManager.ttflist if one.style == "normal"]
    while missing:
        left, family = min(
            ((_find_missing(one.fname, missing), one.name) for one in regular),
            key=lambda found: (len(found[0]), found[1]),
            default=(missing, ""),
        )
        if len(left) == len(missing):
            break
        missing = left
        families.append(family)
    return Fonts(tuple(families), tuple(missing))


@contextmanager
def use_fonts(fonts: Fonts) -> Iterator[None]:
    """Use these fonts for drawing, without matplotlib's warnings about each box."""
    with warnings.catch_warnings(), rc_context({"font.family": list(fonts.families)}):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def _list_new_fonts() -> None:
    """Add fonts that were installed after matplotlib cached its list."""
    listed = {one.fname for one in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed:
            with suppress(OSError, RuntimeError):  # damaged
                font_manager.fontManager.addfont(path)


def _find_missing(path: str, characters: dict[str, None]) -> dict[str, None]:
    """Return the characters that a font file lacks; all of them if it cannot be read."""
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # removed since it was listed, or damaged
        return characters
    return {one: None for one in characters if not font.get_char_index(ord(one))}
