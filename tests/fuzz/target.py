"""Definition of a fuzz target: its corpus, its mutations, and the code that reads its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from emotion_runtime import EmotionEdgeError

MAX_MESSAGE = 900  # characters, without the folder's name


@dataclass(frozen=True)
class Target:
    """A fuzz target for one kind of file.

    Attributes:
        name: The name of the target.
        seeds: Returns the corpus: files to start with, including the causes of past findings.
        mutate: Returns an input made from the corpus.
        read: Reads an input as the product does; it may write to the folder. It may only raise
            an `EmotionEdgeError`.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[Random, Sequence[bytes]], bytes]
    read: Callable[[bytes, Path], None]

    def input_of(self, seed: int, number: int, corpus: Sequence[bytes]) -> bytes:
        """Return an input by its number: first the corpus, then mutations of it."""
        if number < len(corpus):
            return corpus[number]
        return self.mutate(Random(f"{seed}-{self.name}-{number}"), corpus)


def check_sentence(error: EmotionEdgeError, folder: Path) -> None:
    """Check that an error message is one sentence of limited length."""
    text = str(error).replace(str(folder), "")
    assert "\n" not in text, f"a message of several lines: {text[:200]!r}"
    assert text.endswith("."), f"a message that is no sentence: {text[-200:]!r}"
    assert len(text) <= MAX_MESSAGE, f"a message of {len(text)} characters: {text[:200]!r}"
