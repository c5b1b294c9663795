"""Counts given as arguments, such as a number of threads."""

from __future__ import annotations

import operator


def check_count(name: str, value: object) -> int:
    """Return a count as int, at least 1.

    Args:
        name: The argument's name, for the message.
        value: The argument.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is less than 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    count = operator.index(value)
    if count < 1:
        raise ValueError(f"{name} must be at least 1, not {count}")
    return count
