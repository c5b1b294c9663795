"""A counter that several threads may add to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable


class Tally:
    """Counts by name, from any thread.

    Each thread has counts of its own, so that no lock is needed: a child that is forked while
    another thread counts can continue.
    """

    def __init__(self) -> None:
        self._counts: dict[int, Counter[Hashable]] = {}

    def add(self, name: Hashable, number: int = 1) -> None:
        """Add to the count of `name`."""
        self._counts.setdefault(threading.get_ident(), Counter())[name] += number

    def total(self) -> Counter[Hashable]:
        """Return the sums over all threads."""
        total: Counter[Hashable] = Counter()
        for counts in list(self._counts.values()):
            total.update(dict(counts))
        return total

    def take(self) -> dict[Hashable, int]:
        """Return the sums, and count from zero again; while no other thread counts."""
        total = dict(self.total())
        self._counts.clear()
        return total
