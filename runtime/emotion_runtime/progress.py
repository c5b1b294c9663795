"""A line that counts along, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")


def counting(
    items: Iterable[T], what: str, results: TextIO, *, total: int = 0, quiet: bool = False
) -> Iterator[T]:
    """Pass items on, and count them on standard error where that is a terminal.

    Args:
        items: What is counted.
        what: Its name, in the plural.
        results: Where results go; where they scroll by on a terminal already, nothing is counted.
        total: How many there will be; 0 where nobody knows.
        quiet: Do not count.
    """
    scrolls = results is sys.stdout and sys.stdout.isatty()
    if quiet or scrolls or not sys.stderr.isatty():
        yield from items
        return
    started = shown = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= 0.5:
            shown = now
            rate = number / (now - started)
            of = f" of {total:,}" if total else ""
            left = f", {max(0, total - number) / rate:,.0f} s left" if total else ""
            line = f"{number:,}{of} {what}, {rate:,.0f} a second{left}"
            print(f"\r{line:<70}", end="", file=sys.stderr)
    if shown != started:
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
