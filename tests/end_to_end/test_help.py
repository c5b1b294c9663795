"""Help texts, --version, and the errors of old options."""

from __future__ import annotations

import importlib
import shlex
from collections import Counter

import click
import pytest
from click.testing import CliRunner, Result

from emotion_runtime import __version__
from emotion_runtime.command_line.commands import Command

COMMANDS = {
    "emotion-infer": "emotion_runtime.infer.cli",
    "emotion-eval": "emotion_runtime.evaluate.cli",
    "emotion-train": "emotion_train.cli",
    "emotion-audit": "emotion_train.audit.cli",
    "emotion-export": "emotion_export.cli",
    "emotion-verify": "emotion_export.verify_cli",
    "emotion-page": "emotion_export.page_cli",
    "python -m emotion_runtime.ray": "emotion_runtime.ray.cli",
    "python -m emotion_train.average": "emotion_train.average",
}


def command_of(name: str) -> Command:
    command = importlib.import_module(COMMANDS[name]).main
    assert isinstance(command, Command)
    return command


def run(name: str, *arguments: object) -> Result:
    return CliRunner().invoke(command_of(name), [str(a) for a in arguments], prog_name=name)


def visible_options(command: click.Command) -> list[str]:
    context = click.Context(command, **command.context_settings)
    return [
        "help" if "--help" in option.opts else str(option.name)
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not option.hidden
    ]


@pytest.mark.parametrize("name", COMMANDS)
class TestHelp:
    def test_every_option_is_in_one_group(self, name: str) -> None:
        command = command_of(name)
        grouped = Counter(option for names in command.groups.values() for option in names)
        assert grouped == Counter(visible_options(command))

    def test_it_starts_with_three_examples(self, name: str) -> None:
        text = run(name, "--help").output
        assert len(command_of(name).examples) == 3
        assert text.index("\nExamples:\n") < text.index("  -")
        assert all(f"  {line}" in text for line, _ in command_of(name).examples)
        assert text.split("\n")[2].strip().endswith(".")  # one line with the purpose

    def test_every_example_parses(self, name: str) -> None:
        for line, _ in command_of(name).examples:
            assert line.startswith(f"{name} ")
            arguments = shlex.split(line.removeprefix(name))
            command_of(name).make_context(name, arguments, **command_of(name).context_settings)

    @pytest.mark.parametrize("columns", ["80", "300"])
    def test_it_is_at_most_100_columns_wide(
        self, name: str, columns: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        lines = run(name, "-h").output.splitlines()
        assert "\n".join(lines) == run(name, "--help").output.rstrip("\n")
        assert max(map(len, lines)) <= int(min(columns, "100", key=int))

    def test_the_version_is_one_line(self, name: str) -> None:
        result = run(name, "--version")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == f"{name} {__version__}"


@pytest.mark.parametrize(
    ("name", "arguments", "replacement"),
    [
        ("emotion-export", ["m.onnx", "--check"], "use emotion-verify MODEL.onnx"),
        ("emotion-export", ["m.onnx", "--page", "d"], "use emotion-page MODEL.onnx -o DIR"),
        ("emotion-export", ["m.onnx", "--onnxruntime-web", "d"], "use emotion-page --onnx"),
        ("emotion-train", ["d", "--answered", "0.9"], "use --coverage"),
        ("python -m emotion_train.average", ["a", "-o", "b", "--answered", "1"], "use --coverage"),
    ],
)
def test_errors_of_old_options_name_the_new_ones(
    name: str, arguments: list[str], replacement: str
) -> None:
    result = run(name, *arguments)
    assert result.exit_code == 2
    assert replacement in result.stderr
    assert arguments[-1] not in run(name, "--help").output.split()
