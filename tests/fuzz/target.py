"""What is fuzzed: where inputs come from, how they are changed, what reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from emotion_runtime import EmotionEdgeError

MAX_MESSAGE = 900  # characters, without the folder's name


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        name: Of the target.
        seeds: Return the corpus: files to begin with, the cases of past findings among them.
        mutate: Make an input of the corpus.
        read: Read an input as the product does; may write in the folder. It raises an
            `EmotionEdgeError` or nothing.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[Random, Sequence[bytes]], bytes]
    read: Callable[[bytes, Path], None]

    def input_of(self, seed: int, number: int, corpus: Sequence[bytes]) -> bytes:
        """Return an input by its number: the corpus itself first, then mutations of it."""
        if number < len(corpus):
            return corpus[number]
        return self.mutate(Random(f"{seed}-{self.name}-{number}"), corpus)


def check_sentence(error: EmotionEdgeError, folder: Path) -> None:
    """Check that a refusal is one sentence of bounded length."""
    text = str(error).replace(str(folder), "")
    assert "\n" not in text, f"a message of several lines: {text[:200]!r}"
    assert text.endswith("."), f"a message that is no sentence: {text[-200:]!r}"
    assert len(text) <= MAX_MESSAGE, f"a message of {len(text)} characters: {text[:200]!r}"
