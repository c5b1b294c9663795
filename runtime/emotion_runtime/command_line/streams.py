"""Handle standard streams that the caller closed, or that cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Literal, TextIO


def open_standard_streams() -> None:
    """Replace the standard streams that the caller closed (``>&-``).

    Python sets a closed stream to None, and the next file that is opened would get its
    descriptor. A closed standard input or output is replaced by one that fails when it is used,
    with the system's message; a closed standard error by one that discards everything.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    # In the wrong direction, as in gnulib's stdopen, so that a write to 1 fails.
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, flags)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
    if sys.stdin is None:
        sys.stdin = _open_stream(0, "r")
    if sys.stdout is None:
        sys.stdout = _open_stream(1, "w")
    if sys.stderr is None:
        sys.stderr = _open_stream(2, "w")


def discard_output(stream: TextIO | None) -> None:
    """Discard the buffer of `stream` and everything that is written to it from now on.

    For a stream that cannot be written, about which Python would print an error at exit.
    """
    # A stream without a descriptor, as in a test, has no buffer to discard.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        number = stream.fileno()  # type: ignore[union-attr]
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, number)
        os.close(handle)


def _open_stream(number: int, mode: Literal["r", "w"]) -> TextIO:
    return open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
