"""The reference of the commands is up to date, and all examples in the documents work."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import command_reference  # noqa: E402
from emotion_runtime import EmotionClassifier  # noqa: E402

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:.*\| )?((?:emotion-\w+|python -m emotion_\S+)(?: .*)?)")


def blocks(path: Path, language: str) -> list[str]:
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def command_lines(path: Path) -> list[str]:
    """Return the lines with commands of the toolkit, continued lines joined."""
    text = "\n".join(blocks(path, "sh")).replace("\\\n", " ")
    return [found[1] for line in text.splitlines() if (found := COMMAND.match(line))]


def test_the_reference_is_generated_from_the_commands(tmp_path: Path) -> None:
    for written in command_reference.write_reference(tmp_path):
        page = command_reference.FOLDER / written.name
        assert page.read_text(encoding="utf-8") == written.read_text(encoding="utf-8"), (
            "run: python scripts/command_reference.py"
        )
    assert {path.name for path in command_reference.FOLDER.iterdir()} == {
        path.name for path in tmp_path.iterdir()
    }


def test_every_command_is_in_the_reference() -> None:
    spec = importlib.util.spec_from_file_location(
        "commands_of_help", ROOT / "tests" / "end_to_end" / "test_help.py"
    )
    assert spec is not None
    assert spec.loader is not None
    help_tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(help_tests)
    assert command_reference.COMMANDS == help_tests.COMMANDS, (
        "add the command to scripts/command_reference.py and docs/reference/commands.md"
    )
    index = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    for name in command_reference.COMMANDS:
        assert f"(commands/{command_reference.make_file_name(name)})" in index


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_document_parses(document: Path) -> None:
    if document.parent == command_reference.FOLDER:
        return  # test_help.py has these examples
    for line in command_lines(document):
        words = shlex.split(line.partition(" | ")[0], comments=True)
        name = words.pop(0)
        if name == "python":
            name = f"python -m {words[1]}"
            del words[:2]
        name = {"python -m emotion_train": "emotion-train"}.get(name, name)
        command = importlib.import_module(command_reference.COMMANDS[name]).main
        words = words[: words.index(">")] if ">" in words else words
        try:
            command.make_context(name, words, **command.context_settings)
        except click.exceptions.Exit:
            continue  # --version, --help
        except click.UsageError as error:
            raise AssertionError(f"{line}: {error.format_message()}") from error


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_in_python_code_exists(document: Path) -> None:
    for text in blocks(document, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emotion_"):
                if "ray" in str(node.module):
                    pytest.importorskip("ray", reason="ray is not installed")
                module = importlib.import_module(str(node.module))
                assert [one.name for one in node.names if not hasattr(module, one.name)] == []


@pytest.mark.parametrize("document", ["README.md", "docs/reference/results.md"])
def test_a_result_in_a_document_is_that_of_the_released_model(
    document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    classifier = EmotionClassifier()
    results = [json.loads(text) for text in blocks(ROOT / document, "json")]
    assert results
    for shown in results:
        computed = classifier.predict(shown["path"]).to_dict()
        assert list(shown) == list(computed)
        assert shown["label"] == computed["label"]
        assert shown["probabilities"] == pytest.approx(computed["probabilities"], abs=0.004)
        assert shown["other"] == pytest.approx(computed["other"], abs=0.02)


def test_the_output_of_the_clients_is_that_of_the_released_model() -> None:
    classifier = EmotionClassifier()
    (text,) = blocks(ROOT / "docs" / "languages.md", "text")
    *lines, rest = text.splitlines()
    samples = sorted((ROOT / "samples").glob("*.png"))
    assert rest == "…"
    for line, sample in zip(lines, samples, strict=False):
        path, label, confidence = line.split("\t")
        computed = classifier.predict(sample)
        assert (Path(path).name, label) == (sample.name, computed.label)
        assert float(confidence) == pytest.approx(computed.confidence, abs=0.02)
