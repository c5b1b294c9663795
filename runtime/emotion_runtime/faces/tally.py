"""Counts that several threads add to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable


class Tally:
    """Counts things by name, from any thread.

    Each thread has counts of its own, so that there is no lock: a child forked while another
    thread counts can go on counting.
    """

    def __init__(self) -> None:
        self._counts: dict[int, Counter[Hashable]] = {}

    def add(self, name: Hashable, number: int = 1) -> None:
        """Add to the count of `name`."""
        self._counts.setdefault(threading.get_ident(), Counter())[name] += number

    def total(self) -> Counter[Hashable]:
        """Return the counts of all threads together."""
        together: Counter[Hashable] = Counter()
        for counts in list(self._counts.values()):
            together.update(dict(counts))
        return together
