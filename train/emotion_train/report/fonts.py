"""Fonts of the report's pictures, also for class names that matplotlib's own font cannot draw."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from matplotlib import font_manager, rc_context

from emotion_runtime.prediction import format_count

_OWN = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic and more
_NAMED = 10  # characters that a warning names


@dataclass(frozen=True)
class Fonts:
    """Fonts that draw the texts of a picture.

    Attributes:
        families: Font families, the first that has a character draws it.
        missing: Characters that none of them has, in the order of the texts.
    """

    families: tuple[str, ...]
    missing: tuple[str, ...]

    def warning(self) -> str | None:
        """Describe what is drawn as boxes, without a full stop; None where nothing is."""
        if not self.missing:
            return None
        names = ", ".join(f"{one} (U+{ord(one):04X})" for one in self.missing[:_NAMED])
        if (more := len(self.missing) - _NAMED) > 0:
            names += f" and {more:,} more"
        boxes = format_count(len(self.missing), "character")
        return (
            f"the report's pictures show boxes for {boxes} of the class names that no installed "
            f"font has: {names}; install a font such as Noto Sans CJK, and run the command again "
            f"with --resume"
        )


def choose_fonts(texts: Sequence[str]) -> Fonts:
    """Choose installed fonts that together have the characters of some texts.

    matplotlib's own font comes first; the others are added where they have what is missing.
    """
    wanted = dict.fromkeys(
        one for text in texts for one in text if unicodedata.category(one)[0] not in "CZ"
    )
    missing = _lacking(font_manager.findfont(_OWN), wanted)
    families = [_OWN]
    if missing:
        _list_new_fonts()
    regular = [one for one in font_manager.fontManager.ttflist if one.style == "normal"]
    while missing:
        left, family = min(
            ((_lacking(one.fname, missing), one.name) for one in regular),
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
    """Draw with these fonts; matplotlib does not warn of each box."""
    with warnings.catch_warnings(), rc_context({"font.family": list(fonts.families)}):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def _list_new_fonts() -> None:
    """Add fonts that were installed after matplotlib wrote down its list."""
    listed = {one.fname for one in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed:
            with suppress(OSError, RuntimeError):  # damaged
                font_manager.fontManager.addfont(path)


def _lacking(path: str, characters: dict[str, None]) -> dict[str, None]:
    """Return the characters that a font file does not have; all, where it cannot be read."""
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # gone since it was listed, or damaged
        return characters
    return {one: None for one in characters if not font.get_char_index(ord(one))}
