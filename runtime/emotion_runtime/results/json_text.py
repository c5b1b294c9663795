"""JSON that every parser accepts and that is safe to show on a terminal."""

from __future__ import annotations

import json
from typing import Any

from emotion_runtime.errors import OutputError
from emotion_runtime.terminal import is_control

NOT_FINITE = "a result is not a finite number (NaN or infinity): the model is damaged."

# With these arguments `json.dumps` would create an encoder for each line.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def to_json(value: Any, *, indent: int | None = None) -> str:
    r"""Return `value` as JSON, with control characters as escapes such as ``\u009b``.

    A parser recovers the exact value, also of a name whose bytes are not UTF-8 (a lone surrogate,
    as `os.fsdecode` returns it).

    Raises:
        OutputError: A number is not finite, which JSON cannot express.
    """
    try:
        if indent is None:
            text = _ENCODER.encode(value)
        else:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError as error:
        raise OutputError(NOT_FINITE) from error
    if text.isprintable():
        return text
    return "".join(
        _escape(character) if character != "\n" and is_control(character) else character
        for character in text
    )


def _escape(character: str) -> str:
    """Return the escape of one character; for one beyond U+FFFF, a surrogate pair."""
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
