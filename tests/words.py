"""Private vocabulary and docstrings of an odd form, counted in each file of the repository.

``python tests/words.py`` lists every place with the word to write instead. What is left of
earlier texts is in `words_left.json`, by file: `test_words` fails where a file has more.
``python tests/words.py --update`` lowers these counts to what there is now; it never raises one
(for files that moved: ``--update --anew``).
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LEFT = Path(__file__).with_name("words_left.json")
FOLDERS = (
    "models",
    "runtime",
    "train",
    "export",
    "scripts",
    "benchmarks",
    "docs",
    "samples",
    "tests",
)
SUFFIXES = {".py", ".md", ".html", ".js", ".mjs", ".css", ".jinja", ".j2", ".toml"}

# The word, its other forms, and what to write instead. Parts of identifiers count as words.
BANNED = (
    ("proof", "proofs?|proves?|proved|proven|proving", "parity check, verify, verified"),
    ("house", "houses?", "layer, package"),
    ("room", "rooms?", "space, place"),
    ("asked", "asked|asks", "requested, given, prompted"),
    ("answer", "answers?|answered|answering", "prediction, result, output, reply"),
    ("says", "says|said", "prints, warns, reports, means"),
    ("stands", "stands|stood", "is, lies, refers to"),
    ("taken for", r"taken\s+for", "counts as, is recognised as"),
)
# A docstring of a function begins with what it does: Return …, Load …
NO_VERBS = re.compile(r"(Say|Give|Tell|What|Whatever|Stand)\b")
DOCSTRING = "docstring"

_WORDS = {
    word: re.compile(rf"(?<![A-Za-z])(?:{forms})(?![A-Za-z])", re.IGNORECASE)
    for word, forms, _ in BANNED
}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of CamelCase


class Place(NamedTuple):
    """A word at a line of a text."""

    line: int
    word: str


def find_words(text: str) -> Iterator[Place]:
    """Yield the banned words of a text, one after the other."""
    parted = _HUMP.sub(" ", text)
    for word, pattern in _WORDS.items():
        for found in pattern.finditer(parted):
            yield Place(parted.count("\n", 0, found.start()) + 1, word)


def find_docstrings(source: str) -> Iterator[Place]:
    """Yield the docstrings of Python source that begin with a word of `NO_VERBS`."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and NO_VERBS.match(ast.get_docstring(node) or ""):
            yield Place(node.body[0].lineno, DOCSTRING)


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name of each text of the repository, and the text."""
    paths = [path for path in ROOT.iterdir() if path.name == "Makefile" or path.suffix in SUFFIXES]
    for folder in FOLDERS:
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("tests/words") and path.is_file():
            yield name, path.read_text(encoding="utf-8")


def find_all() -> dict[str, list[Place]]:
    """Return the places of each file that has any."""
    found = {}
    for name, text in texts():
        places = list(find_words(text))
        if name.endswith(".py"):
            places += find_docstrings(text)
        if places:
            found[name] = sorted(places)
    return found


def count(places: list[Place]) -> dict[str, int]:
    """Return how often each word is among the places."""
    return dict(sorted(Counter(place.word for place in places).items()))


def read_left() -> dict[str, dict[str, int]]:
    """Return the counts that each file may still have."""
    left: dict[str, dict[str, int]] = json.loads(LEFT.read_text(encoding="utf-8"))
    return left


def instead_of(word: str) -> str:
    """Return what to write instead of a word."""
    if word == DOCSTRING:
        return "a verb: Return …, Load …"
    return next(better for name, _, better in BANNED if name == word)


def main(arguments: list[str]) -> None:
    """List all places, or update the counts."""
    found = find_all()
    if "--update" in arguments:
        left = None if "--anew" in arguments else read_left()
        counts = {name: count(places) for name, places in found.items()}
        if left is not None:
            counts = {
                name: {
                    word: min(number, left.get(name, {}).get(word, 0))
                    for word, number in words.items()
                    if left.get(name, {}).get(word, 0)
                }
                for name, words in counts.items()
            }
        text = json.dumps({name: words for name, words in counts.items() if words}, indent=1)
        LEFT.write_text(text + "\n", encoding="utf-8")
        return
    for name, places in found.items():
        for line, word in places:
            print(f"{name}:{line}: {word} (better: {instead_of(word)})")


if __name__ == "__main__":
    main(sys.argv[1:])
