"""All texts are in plain English: no private vocabulary, no spelling mistakes."""

from __future__ import annotations

import subprocess
import sys

import words


def test_no_file_has_more_private_words_than_allowed() -> None:
    left = words.read_allowed()
    too_many = []
    for name, places in words.find_all().items():
        for word, number in words.count_words(places).items():
            allowed = left.get(name, {}).get(word, 0)
            if number > allowed:
                lines = ", ".join(str(place.line) for place in places if place.word == word)
                too_many.append(
                    f"{name}: {word}: {number}, of which {allowed} are left from before "
                    f"(lines {lines}); better: {words.suggest(word)}"
                )
    assert not too_many, "\n" + "\n".join(too_many)


def test_words_are_found_in_prose_and_in_names() -> None:
    text = "The proof.\ndef is_proven(): ...\nclass ParityProof: ...\nbulletproof, warehouse, roomy"
    assert list(words.find_words(text)) == [(1, "proof"), (2, "proof"), (3, "proof")]
    assert list(words.find_words("what is taken\nfor a face")) == [(1, "taken for")]
    assert list(words.find_words("He says: answered, asked, STANDS")) == [
        (1, "asked"), (1, "answer"), (1, "says"), (1, "stands"),
    ]  # fmt: skip


def test_docstrings_begin_with_a_verb() -> None:
    source = '"""Say."""\ndef f():\n    """Give it."""\ndef g():\n    """Return it."""\n'
    assert list(words.find_docstrings(source)) == [(1, words.DOCSTRING), (3, words.DOCSTRING)]


def test_codespell_finds_nothing() -> None:
    names = [name for name, _ in words.read_texts()]
    command = [sys.executable, "-m", "codespell_lib", *names]
    done = subprocess.run(command, cwd=words.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
