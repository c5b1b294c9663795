"""Make text from untrusted sources safe to print on a terminal."""

from __future__ import annotations


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Return `text` with control characters as visible escapes, such as ``\x1b``.

    File names, labels and metadata may contain escape sequences that recolour, retitle or erase a
    terminal. Text that a person reads goes through this function; results for programs (JSON,
    CSV) do not. C0 and C1 controls, bidirectional overrides, line separators and bytes that are
    not UTF-8 (lone surrogates) are escaped.

    Args:
        text: Any text.
        keep: Characters that are not escaped, such as a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in keep or not is_control(character) else _escape(character)
        for character in text
    )


def is_control(character: str) -> bool:
    """Return whether a character could control a terminal or hide text."""
    import unicodedata  # not needed at start-up where all text is ASCII

    # Joiners are format characters too, but emoji and Indic scripts need them.
    return unicodedata.category(character) in _UNSAFE and character not in "\u200c\u200d"


# Controls, format characters (bidirectional overrides among them), surrogates, separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte that is not UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
