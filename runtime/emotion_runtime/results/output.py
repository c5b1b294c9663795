"""Where results go: standard output, a device, or a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from emotion_runtime.atomic import (
    is_stream,
    make_write_error,
    open_stream,
    parse_descriptor,
    write_atomically,
)
from emotion_runtime.command_line.streams import discard_output
from emotion_runtime.errors import OutputError


@contextlib.contextmanager
def opened_output(path: Path | None) -> Iterator[TextIO]:
    """Open a file of results by path, or standard output for None, as UTF-8.

    A device or a FIFO gets each result as it comes; a regular file is replaced at the end.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: The reader of standard output, or of a FIFO, has seen enough.
    """
    if path is None or parse_descriptor(path) == 1:
        with _standard_output() as stream:
            yield stream
    elif is_stream(path):
        with _named(path), _text(open_stream(path)) as stream:
            yield stream
    else:
        with write_atomically(path) as temporary, _text(temporary) as stream:
            yield stream


def _text(file: Path | int) -> TextIO:
    """Open a file for text as the writers want it."""
    # newline="" leaves line ends to the writers, on Windows too.
    return open(file, "w", encoding="utf-8", errors="surrogateescape", newline="")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise make_write_error(path, error) from error


@contextlib.contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Yield standard output, as UTF-8 whatever the locale."""
    if sys.stdout is None:
        raise OutputError("standard output: cannot be written (it is closed).")
    # newline="" leaves line ends to the writers, on Windows too.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield sys.stdout
        sys.stdout.flush()  # here, where a closed pipe is expected
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise  # of another file
        abandon_stdout()
        raise OutputError(f"standard output: cannot be written ({error.strerror}).") from error


def abandon_stdout() -> None:
    """Send what is still buffered nowhere; Python would complain again at its exit."""
    discard_output(sys.stdout)
