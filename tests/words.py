"""Count private vocabulary and oddly worded docstrings in each file of the repository.

``python tests/words.py`` lists every place with the word to write instead. `words_left.json`
has the number of such words that each file may still have: `test_words` fails if there are more.
``python tests/words.py --update`` lowers these numbers to the present ones and never raises one;
``--update --anew`` replaces them all, for files that moved.
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
    "examples",
    "samples",
    "tests",
)
SUFFIXES = {".py", ".md", ".html", ".js", ".mjs", ".cpp", ".css", ".jinja", ".j2", ".toml"}

# The list of words itself, its test, and the numbers.
EXCLUDED = ("tests/words.py", "tests/test_words.py", "tests/words_left.json")
# Names of earlier versions that are still read or refused with a message.
EARLIER_NAMES = re.compile(r"--answered\b|\"answered\"")
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


class Finding(NamedTuple):
    """A banned word and its line."""

    line: int
    word: str


def find_words(text: str) -> Iterator[Finding]:
    """Yield the banned words of a text, one after the other."""
    parted = _HUMP.sub(" ", EARLIER_NAMES.sub("", text))
    for word, pattern in _WORDS.items():
        for found in pattern.finditer(parted):
            yield Finding(parted.count("\n", 0, found.start()) + 1, word)


def find_docstrings(source: str) -> Iterator[Finding]:
    """Yield the docstrings of Python source that begin with a word of `NO_VERBS`."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and NO_VERBS.match(ast.get_docstring(node) or ""):
            yield Finding(node.body[0].lineno, DOCSTRING)


def read_texts() -> Iterator[tuple[str, str]]:
    """Yield the path of each file to check, and its text."""
    paths = [path for path in ROOT.iterdir() if path.name == "Makefile" or path.suffix in SUFFIXES]
    for folder in FOLDERS:
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix()
        if name not in EXCLUDED and "node_modules" not in path.parts and path.is_file():
            yield name, path.read_text(encoding="utf-8")


def find_all() -> dict[str, list[Finding]]:
    """Return the findings of each file that has any."""
    found = {}
    for name, text in read_texts():
        places = list(find_words(text))
        if name.endswith(".py"):
            places += find_docstrings(text)
        if places:
            found[name] = sorted(places)
    return found


def count_words(findings: list[Finding]) -> dict[str, int]:
    """Return how often each word was found."""
    return dict(sorted(Counter(finding.word for finding in findings).items()))


def read_allowed() -> dict[str, dict[str, int]]:
    """Return the number of each word that each file may still have."""
    left: dict[str, dict[str, int]] = json.loads(LEFT.read_text(encoding="utf-8"))
    return left


def suggest(word: str) -> str:
    """Return better words."""
    if word == DOCSTRING:
        return "a verb: Return …, Load …"
    return next(better for name, _, better in BANNED if name == word)


def main(arguments: list[str]) -> None:
    """Print all findings, or update the allowed numbers."""
    found = find_all()
    if "--update" in arguments:
        left = None if "--anew" in arguments else read_allowed()
        counts = {name: count_words(findings) for name, findings in found.items()}
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
            print(f"{name}:{line}: {word} (better: {suggest(word)})")


if __name__ == "__main__":
    main(sys.argv[1:])
