"""JSON lines that an interrupted run can go on with: nothing repeated, nothing lost.

``OUTPUT.partial`` holds the lines until the run is complete; ``OUTPUT.settings.json`` holds what
they depend on, and stays beside the finished file, so that a later run knows whether the results
are still those that it would give.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from emotion_runtime.atomic import is_stream, make_write_error, write_atomically
from emotion_runtime.errors import OutputError, shorten_repr
from emotion_runtime.prediction import Prediction
from emotion_runtime.results.json_text import to_json

_PARTIAL, _SETTINGS = ".partial", ".settings.json"
_NAMED = 5  # settings in a message
_MOST_SHOWN = 80  # characters of one of them
# What the fields of a line are, as JSON values.
_KINDS: dict[str, tuple[type, ...]] = {
    "label": (str, type(None)),
    "confidence": (float, int, type(None)),
    "probabilities": (dict, type(None)),
    "error": (str, type(None)),
}
_OPTIONAL_KINDS: dict[str, tuple[type, ...]] = {"other": (float, int, type(None))}
_FLAGS: int = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    # A link that somebody planted is not followed, and a FIFO is not waited for.
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


class ResumableOutput:
    """Writes ``OUTPUT.partial``, whose whole lines survive a kill, and renames it at the end.

    Args:
        output: The file of JSON lines that is wanted.
        settings: What the results depend on, as JSON values; those of an earlier run must be
            equal.
        kind: What a line holds. A picture may have several lines of `FacePrediction`, one after
            the other; those of the last picture may not be all there, and are written anew.

    Attributes:
        complete: The output is there already, with all its lines.
        done: Number of pictures that have their lines.
        changed: Number of them whose file was written after its line, and so may show something
            else by now.
        first_changed: One of these; None where there is none.

    Raises:
        OutputError: The output is no regular file, another process is writing it, an earlier run
            had other settings, or a file cannot be read or written.
    """

    def __init__(
        self, output: Path, settings: Mapping[str, Any], kind: type[Prediction] = Prediction
    ) -> None:
        if is_stream(output):
            raise OutputError(f"{output}: is no regular file; --resume needs one.")
        # A link stays, and the file that it points to is written.
        self.output = Path(os.path.realpath(output))
        self._settings = dict(settings)
        self._kind, self._grouped = kind, kind is not Prediction
        self.partial = self.output.with_name(self.output.name + _PARTIAL)
        self._settings_path = self.output.with_name(self.output.name + _SETTINGS)
        self.done = self.changed = 0
        self.first_changed: str | None = None
        self._last_written = 0
        self.complete = False
        with _naming(self.partial):
            self._file = self._lock()
            try:
                self._begin()
            except BaseException:
                self.close()
                raise

    def _lock(self) -> Any:
        """Open the partial file and lock it, until it is closed or the process ends."""
        while True:
            handle = os.open(self.partial, _FLAGS, 0o666)
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                    raise OutputError(
                        f"{self.partial}: is no regular file of its own; remove it to begin."
                    )
                try:
                    lock_exclusively(handle)
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                        raise OutputError(
                            f"{self.partial}: cannot be locked ({error.strerror}); --resume needs "
                            f"a file system with locks."
                        ) from error
                    raise OutputError(
                        f"{self.output}: another process is writing it; wait until it has ended."
                    ) from error
                # Another process may have finished, and renamed the file, in between.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), os.lstat(self.partial)):
                        return os.fdopen(handle, "a+b")
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _begin(self) -> None:
        """Compare with what an earlier run left, and count what it has done."""
        self._last_written = os.fstat(self._file.fileno()).st_mtime_ns
        self._file.seek(0, os.SEEK_END)
        if not self._file.tell():
            if self.output.exists():
                self._accept_complete()
                return
            if os.path.lexists(self._settings_path) and self._recorded() is None:
                self.partial.unlink()
                raise OutputError(
                    f"{self._settings_path}: is there and not of this tool; --resume keeps its "
                    f"settings under this name: name another output."
                )
            self._write_settings()
        else:
            self._compare(self._read_settings(self.partial), self.partial)
        self._drop_broken_line()

    def _accept_complete(self) -> None:
        """Take the finished output of an earlier run for done, if it is what is wanted."""
        # Made by opening it: there is nothing to go on with.
        self.partial.unlink()
        earlier = self._read_settings(self.output)
        self._compare(earlier, self.output)
        if earlier.get("sha256") != _sha256_of(self.output):
            raise OutputError(
                f"{self.output}: has been changed since it was complete; remove it to begin anew."
            )
        self.complete = True
        with self.output.open("rb") as file:
            self._last_written = os.fstat(file.fileno()).st_mtime_ns
            self._count(file)

    def _recorded(self) -> dict[str, Any] | None:
        """Return what a run wrote down; None where it is missing or something else."""
        try:
            earlier = json.loads(self._settings_path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        ours = isinstance(earlier, dict) and isinstance(earlier.get("settings"), dict)
        return earlier if ours else None

    def _read_settings(self, found: Path) -> dict[str, Any]:
        if (earlier := self._recorded()) is not None:
            return earlier
        # Of a version that did not record them, or of a run without --resume.
        raise OutputError(
            f"{found}: is there, but not the settings of its run ({self._settings_path.name}): "
            f"whether its results are those of this model and these options cannot be told. "
            f"Remove it to begin anew{', or leave --resume out' if found == self.output else ''}."
        )

    def _compare(self, earlier: dict[str, Any], found: Path) -> None:
        before = earlier["settings"]
        names = [*self._settings, *(name for name in before if name not in self._settings)]
        changed = [
            f"{_cut(name)} {_short(before.get(name))} instead of {_short(self._settings.get(name))}"
            for name in names
            if before.get(name) != self._settings.get(name)
        ]
        if len(changed) > _NAMED:
            changed[_NAMED:] = [f"{len(changed) - _NAMED} further settings"]
        if changed:
            raise OutputError(
                f"{found}: its results are of a run with {', '.join(changed)}; use the settings "
                f"of that run, name another file, or remove this one to begin anew."
            )

    def _write_settings(self, **further: object) -> None:
        # Before the first line, and at once: a kill leaves lines with their settings, or none.
        with write_atomically(self._settings_path) as temporary:
            text = to_json({"settings": self._settings, **further}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _count(self, file: Any) -> int:
        """Count pictures with all their lines; return where these lines end."""
        start = end = 0  # of the last picture's lines, and of all whole lines
        last = None
        for line in file:
            if not line.endswith(b"\n"):
                break
            path = _parsed(line).get("path") if self._grouped else None
            if path is None or path != last:
                self.done += 1
                start, last = end, path
            end += len(line)
        if self._grouped and self.done and not self.complete:
            self.done -= 1
            end = start
        return end

    def _drop_broken_line(self) -> None:
        """Cut off what a kill left of the last picture's lines."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        whole = self._count(self._file)
        if whole < size:  # else the time of the last line stays
            self._file.truncate(whole)

    def skip_done(
        self, paths: Iterator[str], on_kept: Callable[[Prediction], None] = lambda _: None
    ) -> Iterator[str]:
        """Pass over the pictures that have their lines already.

        Args:
            paths: The pictures of the run, in order.
            on_kept: Called with each result that is kept.

        Raises:
            OutputError: A line is of another picture, or cannot be read, so that the pictures are
                not those of the interrupted run; or a complete output lacks pictures.
        """
        kept = self.output if self.complete else self.partial
        now = time.time_ns()
        with kept.open("rb") as file:
            path = None
            for number, line in enumerate(file, start=1):
                values = _parsed(line)
                written = values.get("path")
                if not (self._grouped and written is not None and written == path):
                    path = next(paths, None)
                    self._note_changed(path, now)
                if written is None or written != path:
                    raise OutputError(
                        f"{kept}: line {number} is of {_cut(written)}, not of {path}: the "
                        f"pictures are not those of the interrupted run; remove the file to begin."
                    )
                on_kept(self._prediction_of(values, f"{kept}: line {number}"))
        for path in paths:
            if self.complete:
                raise OutputError(
                    f"{kept}: is complete, but has no line of {path}: the pictures are not those "
                    f"of its run; name another file, or remove this one to begin anew."
                )
            yield path

    def _note_changed(self, path: str | None, now: int) -> None:
        """Count a picture that was written after the last line of the earlier run."""
        try:
            written = Path(path or "").stat().st_mtime_ns
        except (OSError, ValueError):
            return  # gone: its result is what is left of it
        if self._last_written < written <= now:  # a time in the future is a wrong clock
            self.changed += 1
            self.first_changed = self.first_changed or path

    def _prediction_of(self, values: dict[str, Any], place: str) -> Prediction:
        known = {one.name for one in fields(self._kind)} - {"crop"}
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
            if self._grouped and kept.get("box") is not None:
                kept["box"] = tuple(kept["box"])
            return self._kind(**kept)
        except (KeyError, TypeError) as error:
            raise OutputError(
                f"{place} is no result of this version; remove the file to begin."
            ) from error

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
        if self.complete:
            return
        with _naming(self.output):
            self._write_settings(sha256=_sha256_of(self.partial))
            if os.name == "nt":  # where an open file cannot be renamed
                self.close()
            self.partial.replace(self.output)
            self.close()

    def close(self) -> None:
        """Let go of the lock; what was written stays for a later run."""
        self._file.close()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise make_write_error(path, error) from error


def lock_exclusively(handle: int) -> None:
    """Lock an open file without waiting; the lock ends with the process, also when it is killed.

    Raises:
        OSError: Another process has it (EAGAIN or EACCES), or the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        # A byte far behind the end, so that lines can be read and written.
        os.lseek(handle, 1 << 60, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _short(value: object) -> str:
    """Return a setting for a message: digests by their beginning."""
    if isinstance(value, str):
        return value[:12] + "…" if len(value) == 64 else _cut(value)
    try:
        return _cut(json.dumps(value))
    except RecursionError:
        return "something deep"


def _cut(text: str | None) -> str:
    """Return text from a file for a message: one line of bounded length."""
    if text is None:
        return "nothing"
    return (
        text if text.isprintable() and len(text) <= _MOST_SHOWN else shorten_repr(text, _MOST_SHOWN)
    )


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the values of a JSON line; none where it is none of ours."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) and isinstance(values.get("path"), str) else {}
