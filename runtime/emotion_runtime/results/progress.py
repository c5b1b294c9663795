"""A line that counts along, on a terminal only."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from emotion_runtime.pictures.sources import expand_paths, is_picture_name

T = TypeVar("T")

_INTERVAL = 0.5  # seconds between two updates of the line
_WIDTH = 70  # columns of the line


class PictureTotal:
    """Counts the pictures of a run in the background, for the time left.

    It is told nothing but names, keeps none of them, and starts only when a run takes long enough
    to show its progress; until it has ended the total is not known.

    Args:
        paths: As a user named them.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._thread: threading.Thread | None = None
        self._total = 0

    def __call__(self) -> int:
        """Return the number of pictures; 0 as long as it is not known."""
        if "-" in self._paths:  # who knows what comes
            return 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._count, name="count", daemon=True)
            self._thread.start()
        return self._total

    def _count(self) -> None:
        total, seen = 0, set[tuple[int, int]]()
        for path in expand_paths(self._paths, io.BytesIO()):
            total += self._in_folder(path, seen) if os.path.isdir(path) else 1
        self._total = total

    def _in_folder(self, folder: str, seen: set[tuple[int, int]]) -> int:
        """Count as `find_pictures` looks, but in no order and without a list."""
        count, waiting = 0, [folder]
        while waiting:
            here = waiting.pop()
            try:
                status = os.stat(here)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(here) as entries:
                    for entry in entries:
                        if entry.is_dir():
                            if not entry.name.startswith("."):
                                waiting.append(entry.path)
                        elif is_picture_name(entry.name):
                            count += 1
            except OSError:
                continue  # the run itself says so
        return count


def counting(
    items: Iterable[T],
    what: str,
    results: TextIO,
    *,
    total: int | Callable[[], int] = 0,
    done: Callable[[], int] = lambda: 0,
    name: Callable[[T], object] | None = None,
    quiet: bool = False,
) -> Iterator[T]:
    """Pass items on, and count them on standard error where that is a terminal.

    Args:
        items: What is counted.
        what: Its name, in the plural.
        results: Where results go; where they scroll by on a terminal already, nothing is counted.
        total: How many there will be; 0 where nobody knows (yet).
        done: How many an earlier run has done; they count, but not for the speed.
        name: Items of one name that follow each other count once, such as the faces of a picture.
        quiet: Do not count.
    """
    scrolls = results is sys.stdout and sys.stdout.isatty()
    if quiet or scrolls or not sys.stderr.isatty():
        yield from items
        return
    started = shown = time.monotonic()
    number, last = 0, object()  # equal to no name
    for item in items:
        yield item
        this = None if name is None else name(item)
        if name is None or this != last:
            number, last = number + 1, this
        now = time.monotonic()
        if now - shown >= _INTERVAL:
            shown = now
            known = total if isinstance(total, int) else total()
            rate = number / (now - started)
            line = _line(number + done(), known, what, rate)
            print(f"\r{line:<{_WIDTH}}", end="", file=sys.stderr, flush=True)
    if shown != started:
        print("\r" + " " * _WIDTH + "\r", end="", file=sys.stderr, flush=True)


def _line(number: int, total: int, what: str, rate: float) -> str:
    text = f"{number:,}{f' of {total:,}' if total else ''} {what}, {rate:,.0f} a second"
    return f"{text}, {_time(max(0, total - number) / rate)} left" if total else text


def _time(seconds: float) -> str:
    """Return a duration as a person says it, such as ``12 s``, ``3 min`` or ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
