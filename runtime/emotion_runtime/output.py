"""Where results go: standard output, or a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from emotion_runtime.atomic import naming, replacing
from emotion_runtime.errors import OutputError


@contextlib.contextmanager
def opened_output(path: Path | None) -> Iterator[TextIO]:
    """Open a file of results by path, or standard output for None, as UTF-8.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: The reader of standard output has seen enough.
    """
    if path is None:
        with _standard_output() as stream:
            yield stream
        return
    with (
        replacing(path) as temporary,
        naming(path),
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield stream


@contextlib.contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Give standard output, as UTF-8 whatever the locale."""
    # newline="" leaves line ends to the writers, on Windows too.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield sys.stdout
        sys.stdout.flush()  # here, where a closed pipe is expected
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise OutputError(f"standard output: cannot be written ({error.strerror}).") from error


def abandon_stdout() -> None:
    """Send what is still buffered nowhere; Python would complain again at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
