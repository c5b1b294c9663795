"""Counts given as arguments, such as a number of threads."""

from __future__ import annotations

import operator

# The largest number of threads, workers or processes. More than any machine has use for: with a
# hundred thousand threads onnxruntime does not end its start, and larger numbers overflow.
MAX_THREADS = 1024


def check_count(name: str, value: object, most: int | None = None) -> int:
    """Return a count as int, at least 1.

    Args:
        name: The argument's name, for the message.
        value: The argument.
        most: The largest count that is allowed; None for any.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is less than 1, or more than `most`.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    count = operator.index(value)
    if count < 1:
        raise ValueError(f"{name} must be at least 1, not {count}")
    if most is not None and count > most:
        raise ValueError(f"{name} must be at most {most}, not {count}")
    return count
