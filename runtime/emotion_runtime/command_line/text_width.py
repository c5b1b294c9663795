"""Measure and pad text by terminal columns, so that tables are aligned in every script."""

from __future__ import annotations

_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"


def measure_width(text: str) -> int:
    """Return the number of terminal columns of a line of text.

    East Asian wide characters and emoji take two columns (Unicode Standard Annex 11); combining
    marks and emoji that are joined to another one take none.
    """
    if text.isascii():
        return len(text)
    import unicodedata  # not needed at start-up where all text is ASCII

    width = last = 0
    joined = False
    for character in text:
        code = ord(character)
        if character == _EMOJI_STYLE and last == 1:
            own = 1  # a narrow symbol that is shown as an emoji
        elif (
            joined
            or unicodedata.category(character) in ("Mn", "Me", "Cf")
            or 0x1160 <= code <= 0x11FF  # Hangul vowels and finals, part of a syllable
            or (0x1F3FB <= code <= 0x1F3FF and last == 2)  # the skin tone of an emoji
        ):
            own = 0
        else:
            own = last = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        joined = character == _JOINER
        width += own
    return width


def pad_right(text: str, width: int) -> str:
    """Return `text` padded with spaces on its right to `width` columns."""
    return text + " " * (width - measure_width(text))


def pad_left(text: str, width: int) -> str:
    """Return `text` padded with spaces on its left to `width` columns."""
    return " " * (width - measure_width(text)) + text
