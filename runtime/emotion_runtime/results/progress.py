"""A line of progress on a terminal."""

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

_INTERVAL_SECONDS = 0.5  # between two updates of the line
_WIDTH_COLUMNS = 70  # of the line


class PictureTotal:
    """Counts the pictures of a run in the background, to estimate the time left.

    Counting starts when the progress is shown for the first time. It lists folders, keeps no
    names, and the total is known only when it has ended.

    Args:
        paths: The inputs of the run: files, folders and patterns.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._thread: threading.Thread | None = None
        self._total = 0

    def __call__(self) -> int:
        """Return the number of pictures; 0 while it is not known."""
        if "-" in self._paths:  # unknown until standard input ends
            return 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._count, name="count", daemon=True)
            self._thread.start()
        return self._total

    def _count(self) -> None:
        total, seen = 0, set[tuple[int, int]]()
        for path in expand_paths(self._paths, io.BytesIO()):
            total += self._count_folder(path, seen) if os.path.isdir(path) else 1
        self._total = total

    def _count_folder(self, folder: str, seen: set[tuple[int, int]]) -> int:
        """Count the pictures that `find_pictures` finds, in no order and without a list."""
        count, pending = 0, [folder]
        while pending:
            here = pending.pop()
            try:
                status = os.stat(here)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(here) as entries:
                    for entry in entries:
                        if entry.is_dir():
                            if not entry.name.startswith("."):
                                pending.append(entry.path)
                        elif is_picture_name(entry.name):
                            count += 1
            except OSError:
                continue  # reported by the run itself
        return count


def report_progress(
    items: Iterable[T],
    what: str,
    results: TextIO,
    *,
    total: int | Callable[[], int] = 0,
    done: Callable[[], int] = lambda: 0,
    count: Callable[[T], int] = lambda _: 1,
    quiet: bool = False,
) -> Iterator[T]:
    """Yield the items, and show their number on standard error where that is a terminal.

    Args:
        items: The items to count.
        what: Their name, in the plural.
        results: The stream of results; where results already scroll past on a terminal, no
            progress is shown.
        total: Number of items, or a function that returns it; 0 where it is not known (yet).
        done: Returns the number of items of an earlier run; they count, but not for the speed.
        count: Returns what an item counts, such as the pictures of a batch.
        quiet: Show nothing.
    """
    scrolls = results is sys.stdout and sys.stdout.isatty()
    if quiet or scrolls or not sys.stderr.isatty():
        yield from items
        return
    started = shown = time.monotonic()
    number = 0
    for item in items:
        yield item
        number += count(item)
        now = time.monotonic()
        if now - shown >= _INTERVAL_SECONDS:
            shown = now
            known = total if isinstance(total, int) else total()
            rate = number / (now - started)
            line = _format_line(number + done(), known, what, rate)
            print(f"\r{line:<{_WIDTH_COLUMNS}}", end="", file=sys.stderr, flush=True)
    if shown != started:
        print("\r" + " " * _WIDTH_COLUMNS + "\r", end="", file=sys.stderr, flush=True)


def _format_line(number: int, total: int, what: str, rate: float) -> str:
    text = f"{number:,}{f' of {total:,}' if total else ''} {what}, {rate:,.0f} a second"
    return f"{text}, {_format_seconds(max(0, total - number) / rate)} left" if total else text


def _format_seconds(seconds: float) -> str:
    """Return a duration such as ``12 s``, ``3 min`` or ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
