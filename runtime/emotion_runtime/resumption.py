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

    Raises:
        OutputError: The partial file cannot be read or written.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.partial = output.with_name(output.name + _SUFFIX)
        self.done = 0
        try:
            self._file = self.partial.open("a+b")
            self._drop_broken_line()
        except OSError as error:
            raise OutputError(f"{self.partial}: cannot be written ({error.strerror}).") from error

    def _drop_broken_line(self) -> None:
        """Count whole lines, and cut off what a kill left of the last one."""
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            self.done += 1
        self._file.truncate(end)

    def skip_done(self, paths: Iterator[str]) -> Iterator[str]:
        """Pass over the pictures that have their line already.

        Raises:
            OutputError: The line is of another picture, so that the pictures asked for are not
                those of the interrupted run.
        """
        with self.partial.open("rb") as file:
            for number in range(self.done):
                path, line = next(paths, None), file.readline()
                try:
                    written = json.loads(line)["path"]
                except (ValueError, KeyError, TypeError):
                    written = None
                if written is None or path is None or written != path:
                    raise OutputError(
                        f"{self.partial}: line {number + 1} is of {written}, not of {path}: the "
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
