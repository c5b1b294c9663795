"""JSON lines that an interrupted run can go on with: nothing repeated, nothing lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from emotion_runtime.errors import OutputError

_SUFFIX = ".partial"


class ResumableOutput:
    """Writes ``OUTPUT.partial``, whose whole lines survive a kill, and renames it at the end.

    Args:
        output: The file of JSON lines that is wanted.
        grouped: A picture may have several lines, one after the other; those of the last picture
            may not be all there, and are written anew.

    Raises:
        OutputError: The partial file cannot be read or written.
    """

    def __init__(self, output: Path, *, grouped: bool = False) -> None:
        self.output, self._grouped = output, grouped
        self.partial = output.with_name(output.name + _SUFFIX)
        self.done = 0
        try:
            self._file = self.partial.open("a+b")
            self._drop_broken_line()
        except OSError as error:
            raise OutputError(f"{self.partial}: cannot be written ({error.strerror}).") from error

    def _drop_broken_line(self) -> None:
        """Count pictures with all their lines, and cut off what a kill left of the last one."""
        self._file.seek(0)
        start = end = 0  # of the last picture's lines, and of all whole lines
        last = None
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            path = _path_in(line) if self._grouped else None
            if path is None or path != last:
                self.done += 1
                start, last = end, path
            end += len(line)
        if self._grouped and self.done:
            self.done -= 1
            end = start
        self._file.truncate(end)

    def skip_done(self, paths: Iterator[str]) -> Iterator[str]:
        """Pass over the pictures that have their line already.

        Raises:
            OutputError: The line is of another picture, so that the pictures asked for are not
                those of the interrupted run.
        """
        with self.partial.open("rb") as file:
            path = None
            for number, line in enumerate(file, start=1):
                written = _path_in(line)
                if not (self._grouped and written is not None and written == path):
                    path = next(paths, None)
                if written is None or written != path:
                    raise OutputError(
                        f"{self.partial}: line {number} is of {written}, not of {path}: the "
                        f"pictures are not those of the interrupted run; remove the file to begin."
                    )
        yield from paths

    def open(self) -> TextIO:
        """Return the stream to write lines to, at the end of those that are there."""
        # Written line by line: what a kill leaves is whole but for one line.
        return os.fdopen(
            os.dup(self._file.fileno()),
            "w",
            encoding="utf-8",
            errors="surrogateescape",
            newline="",
            buffering=1,
        )

    def finish(self) -> None:
        """Give the complete file its name."""
        self._file.close()
        self.partial.replace(self.output)


def _path_in(line: bytes) -> str | None:
    """Return the path of a JSON line; None where it is none."""
    try:
        path = json.loads(line)["path"]
    except (ValueError, KeyError, TypeError):
        return None
    return path if isinstance(path, str) else None
