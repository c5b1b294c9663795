"""Text from strangers, made safe to show on a terminal."""

from __future__ import annotations

import unicodedata


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Return `text` with control characters as visible escapes, such as ``\x1b``.

    File names, labels and metadata may hold escape sequences that recolour, retitle or erase a
    terminal. Results for machines (JSON, CSV) keep their bytes; what a person reads goes through
    here. Escaped are C0 and C1 controls, bidirectional overrides, line separators, and bytes
    that are no UTF-8 (lone surrogates).

    Args:
        text: Any text.
        keep: Characters that stay, such as a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNSAFE
        else _escape(character)
        for character in text
    )


# Controls, format characters (bidirectional overrides among them), surrogates, separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def _escape(character: str) -> str:
    code = ord(character)
    if code == 0x200D or code == 0x200C:  # joiners, which emoji and Indic scripts need
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte that was no UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
