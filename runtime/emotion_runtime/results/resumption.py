"""Results as JSON lines that survive an interrupted run and that a later run continues.

``OUTPUT.partial`` holds the lines until the run is complete. ``OUTPUT.settings.json`` holds the
settings that they depend on. It stays beside the complete file, so that a later run can check
whether it would write the same results.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from emotion_runtime.atomic import is_stream, make_write_error, write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_runtime.errors import OutputError, shorten_repr
from emotion_runtime.locks import is_held, lock_exclusively
from emotion_runtime.prediction import Prediction
from emotion_runtime.results.json_text import to_json

_PARTIAL_SUFFIX, _SETTINGS_SUFFIX = ".partial", ".settings.json"
_MAX_NAMED_SETTINGS = 5  # in a message
_MAX_VALUE_CHARACTERS = 80  # of a setting in a message
# Types of the fields of a line, as JSON values.
_KINDS: dict[str, tuple[type, ...]] = {
    "label": (str, type(None)),
    "confidence": (float, int, type(None)),
    "probabilities": (dict, type(None)),
    "error": (str, type(None)),
}
_OPTIONAL_KINDS: dict[str, tuple[type, ...]] = {"other": (float, int, type(None))}
_OPEN_FLAGS: int = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    # Do not follow a symbolic link that an attacker may have created; do not wait for a FIFO.
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


class ResumableOutput:
    """Writes ``OUTPUT.partial``, whose whole lines survive a kill, and renames it at the end.

    Args:
        output: The file of JSON lines to write.
        settings: What the results depend on, as JSON values; those of an interrupted run must be
            equal.
        kind: Type of the predictions. A picture may have several consecutive lines of
            `FacePrediction`; those of the last picture may be incomplete, and are written again.

    Attributes:
        complete: Whether the output exists already, with all its lines.
        done: Number of pictures that have results.
        changed: Number of these pictures whose file was modified after its result was written, so
            that it may have other content.
        first_changed: The first of these pictures; None where there is none.

    Raises:
        OutputError: The output is not a regular file, another process is writing it, the earlier
            run had other settings, or a file cannot be read or written.
    """

    def __init__(
        self, output: Path, settings: Mapping[str, Any], kind: type[Prediction] = Prediction
    ) -> None:
        if is_stream(output):
            raise OutputError(f"{output}: is not a regular file, which --resume needs.")
        # A symbolic link is kept; the file that it points to is written.
        self.output = Path(os.path.realpath(output))
        self._settings = dict(settings)
        self._kind, self._may_have_several_lines = kind, kind is not Prediction
        self.partial = self.output.with_name(self.output.name + _PARTIAL_SUFFIX)
        self._settings_path = self.output.with_name(self.output.name + _SETTINGS_SUFFIX)
        self.done = self.changed = 0
        self.first_changed: str | None = None
        self._last_written = 0
        self.complete = False
        with _convert_errors(self.partial):
            self._file = self._lock()
            try:
                self._begin()
            except BaseException:
                self.close()
                raise

    def _lock(self) -> Any:
        """Open the partial file and lock it until it is closed or the process ends."""
        while True:
            handle = os.open(self.partial, _OPEN_FLAGS, 0o666)
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                    raise OutputError(
                        f"{self.partial}: is not a regular file, or has a second hard link; "
                        f"remove it to start again."
                    )
                try:
                    lock_exclusively(handle)
                except OSError as error:
                    if not is_held(error):
                        raise OutputError(
                            f"{self.partial}: cannot be locked ({error.strerror}); --resume needs "
                            f"a file system with locks."
                        ) from error
                    raise OutputError(
                        f"{self.output}: another process is writing it; wait until it has ended."
                    ) from error
                # Another process may have completed and renamed the file in between.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), os.lstat(self.partial)):
                        return os.fdopen(handle, "a+b")
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _begin(self) -> None:
        """Check that an earlier run had the same settings, and count its pictures."""
        self._last_written = os.fstat(self._file.fileno()).st_mtime_ns
        self._file.seek(0, os.SEEK_END)
        if not self._file.tell():
            if self.output.exists():
                self._accept_complete()
                return
            if os.path.lexists(self._settings_path) and self._load_settings() is None:
                self.partial.unlink()
                raise OutputError(
                    f"{self._settings_path}: exists and was not written by emotion-infer; --resume "
                    f"stores its settings under this name: name another output."
                )
            self._write_settings()
        else:
            self._check_settings(self._read_settings(self.partial), self.partial)
        self._drop_incomplete_lines()

    def _accept_complete(self) -> None:
        """Check the complete output of an earlier run, and count its pictures."""
        # It was created by opening it, and is empty.
        self.partial.unlink()
        earlier = self._read_settings(self.output)
        self._check_settings(earlier, self.output)
        if earlier.get("sha256") != compute_sha256(self.output):
            raise OutputError(
                f"{self.output}: has been changed since it was complete; remove it to start again."
            )
        self.complete = True
        with self.output.open("rb") as file:
            self._last_written = os.fstat(file.fileno()).st_mtime_ns
            self._count(file)

    def _load_settings(self) -> dict[str, Any] | None:
        """Return the content of the file of settings; None where it is missing or another file."""
        try:
            earlier = json.loads(self._settings_path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        is_valid = isinstance(earlier, dict) and isinstance(earlier.get("settings"), dict)
        return earlier if is_valid else None

    def _read_settings(self, found: Path) -> dict[str, Any]:
        """Return the settings of the earlier run that wrote the file `found`."""
        if (earlier := self._load_settings()) is not None:
            return earlier
        # Written by a version that did not record them, or by a run without --resume.
        raise OutputError(
            f"{found}: exists, but the settings of its run ({self._settings_path.name}) do not: "
            f"its results cannot be compared with this model and these options. "
            f"Remove it to start again{', or leave --resume out' if found == self.output else ''}."
        )

    def _check_settings(self, earlier: dict[str, Any], found: Path) -> None:
        """Refuse results of a run with other settings."""
        before = earlier["settings"]
        names = [*self._settings, *(name for name in before if name not in self._settings)]
        changed = [
            f"{_shorten(name)} {_format_setting(before.get(name))} instead of "
            f"{_format_setting(self._settings.get(name))}"
            for name in names
            if before.get(name) != self._settings.get(name)
        ]
        if len(changed) > _MAX_NAMED_SETTINGS:
            further = len(changed) - _MAX_NAMED_SETTINGS
            changed[_MAX_NAMED_SETTINGS:] = [f"{further} further settings"]
        if changed:
            raise OutputError(
                f"{found}: its results are of a run with {', '.join(changed)}; use the settings "
                f"of that run, name another file, or remove this one to start again."
            )

    def _write_settings(self, **further: object) -> None:
        # Before the first line and atomically: after a kill, no line lacks its settings.
        with write_atomically(self._settings_path) as temporary:
            text = to_json({"settings": self._settings, **further}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _count(self, file: Any) -> int:
        """Count the pictures that have all their lines, and return where these lines end."""
        start = end = 0  # start of the last picture's lines, end of all whole lines
        last = None
        for line in file:
            if not line.endswith(b"\n"):
                break
            path = _parse_line(line).get("path") if self._may_have_several_lines else None
            if path is None or path != last:
                self.done += 1
                start, last = end, path
            end += len(line)
        if self._may_have_several_lines and self.done and not self.complete:
            self.done -= 1
            end = start
        return end

    def _drop_incomplete_lines(self) -> None:
        """Remove what a kill left of the last picture's lines."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        whole = self._count(self._file)
        if whole < size:  # else the modification time is kept
            self._file.truncate(whole)

    def skip_done(
        self, paths: Iterator[str], on_kept: Callable[[Prediction], None] = lambda _: None
    ) -> Iterator[str]:
        """Yield the pictures that have no result yet.

        Args:
            paths: The pictures of the run, in order.
            on_kept: Called with each result of the earlier run.

        Raises:
            OutputError: A line belongs to another picture or cannot be parsed, so that the
                pictures are not those of the earlier run; or a complete output lacks pictures.
        """
        kept = self.output if self.complete else self.partial
        now = time.time_ns()
        with kept.open("rb") as file:
            path = None
            for number, line in enumerate(file, start=1):
                values = _parse_line(line)
                written = values.get("path")
                if not (self._may_have_several_lines and written is not None and written == path):
                    path = next(paths, None)
                    self._note_changed(path, now)
                if written is None or written != path:
                    raise OutputError(
                        f"{kept}: line {number} is of {_shorten(written)}, not of {path}: the "
                        f"pictures are not those of the interrupted run; remove the file to start "
                        f"again."
                    )
                on_kept(self._make_prediction(values, f"{kept}: line {number}"))
        for path in paths:
            if self.complete:
                raise OutputError(
                    f"{kept}: is complete, but has no line of {path}: the pictures are not those "
                    f"of its run; name another file, or remove this one to start again."
                )
            yield path

    def _note_changed(self, path: str | None, now: int) -> None:
        """Count a picture that was modified after the last line of the earlier run."""
        try:
            written = Path(path or "").stat().st_mtime_ns
        except (OSError, ValueError):
            return  # deleted: its result is kept
        if self._last_written < written <= now:  # a time in the future comes from a wrong clock
            self.changed += 1
            self.first_changed = self.first_changed or path

    def _make_prediction(self, values: dict[str, Any], place: str) -> Prediction:
        """Return the prediction of a parsed line; `place` names the line in errors."""
        known = {field.name for field in fields(self._kind)} - {"crop"}
        kept = {name: value for name, value in values.items() if name in known}
        try:
            if not all(isinstance(kept[name], kinds) for name, kinds in _KINDS.items()):
                raise TypeError
            if not all(
                isinstance(kept[name], kinds)
                for name, kinds in _OPTIONAL_KINDS.items()
                if name in kept
            ):
                raise TypeError
            if self._may_have_several_lines and kept.get("box") is not None:
                kept["box"] = tuple(kept["box"])
            return self._kind(**kept)
        except (KeyError, TypeError) as error:
            raise OutputError(
                f"{place} is not a result of this version; remove the file to start again."
            ) from error

    def open(self) -> TextIO:
        """Return a stream that appends lines."""
        # Line by line: after a kill, all but the last line are whole.
        return os.fdopen(
            os.dup(self._file.fileno()),
            "w",
            encoding="utf-8",
            errors="surrogateescape",
            newline="",
            buffering=1,
        )

    def finish(self) -> None:
        """Rename the complete file to the name of the output."""
        if self.complete:
            return
        with _convert_errors(self.output):
            self._write_settings(sha256=compute_sha256(self.partial))
            if os.name == "nt":  # where an open file cannot be renamed
                self.close()
            self.partial.replace(self.output)
            self.close()

    def close(self) -> None:
        """Release the lock; the lines that were written are kept for a later run."""
        self._file.close()


@contextlib.contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    """Raise an `OutputError` that names the file in place of an `OSError`."""
    try:
        yield
    except OSError as error:
        raise make_write_error(path, error) from error


def _format_setting(value: object) -> str:
    """Return a setting for a message; digests by their first characters."""
    if isinstance(value, str):
        return value[:12] + "…" if len(value) == 64 else _shorten(value)
    try:
        return _shorten(json.dumps(value))
    except RecursionError:
        return "something deep"


def _shorten(text: str | None) -> str:
    """Return text from a file for a message: one line of bounded length."""
    if text is None:
        return "nothing"
    if text.isprintable() and len(text) <= _MAX_VALUE_CHARACTERS:
        return text
    return shorten_repr(text, _MAX_VALUE_CHARACTERS)


def _parse_line(line: bytes) -> dict[str, Any]:
    """Return the values of a JSON line; empty where it is not a result."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) and isinstance(values.get("path"), str) else {}
