"""The stream of results: standard output, a device, or a file that is written atomically."""

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
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open a file of results by path, or standard output for None, as UTF-8.

    Results are written to a device or a FIFO at once; a regular file is replaced at the end.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: The reader of standard output, or of a FIFO, has stopped reading.
    """
    if path is None or parse_descriptor(path) == 1:
        with _open_standard_output() as stream:
            yield stream
    elif is_stream(path):
        with _convert_errors(path), _open_text(open_stream(path)) as stream:
            yield stream
    else:
        with write_atomically(path) as temporary, _open_text(temporary) as stream:
            yield stream


def _open_text(file: Path | int) -> TextIO:
    """Open a file with the encoding and the line ends of the writers."""
    # newline="" leaves line ends to the writers, on Windows too.
    return open(file, "w", encoding="utf-8", errors="surrogateescape", newline="")


@contextlib.contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    """Raise an `OutputError` that names the file in place of an `OSError`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise make_write_error(path, error) from error


@contextlib.contextmanager
def _open_standard_output() -> Iterator[TextIO]:
    """Yield standard output, as UTF-8 in every locale."""
    if sys.stdout is None:
        raise OutputError("standard output: cannot be written (it is closed).")
    # newline="" leaves line ends to the writers, on Windows too.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield sys.stdout
        sys.stdout.flush()  # here, where a closed pipe is handled
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise  # of another file
        abandon_stdout()
        raise OutputError(f"standard output: cannot be written ({error.strerror}).") from error


def abandon_stdout() -> None:
    """Discard what is still buffered, so that Python does not report the closed pipe at exit."""
    discard_output(sys.stdout)
