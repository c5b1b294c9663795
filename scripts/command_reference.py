"""Write the reference of the commands, ``docs/reference/commands/``, from their ``--help``.

    python scripts/command_reference.py

A test compares the pages with the commands.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import click

from emotion_runtime.atomic import write_atomically
from emotion_runtime.command_line.commands import Command

FOLDER = Path(__file__).parents[1] / "docs" / "reference" / "commands"

# Command → module with its `main`, in the order of the reference.
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

_OPTION = re.compile(r"(?<![\w`-])(--?[a-z][a-z0-9-]*)")
_MARKUP = re.compile(r"([\\`*<\[\]])")


def write_reference(folder: Path = FOLDER) -> list[Path]:
    """Write a page for each command, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, module in COMMANDS.items():
        command = importlib.import_module(module).main
        files.append(folder / make_file_name(name))
        with write_atomically(files[-1]) as path:
            path.write_text(format_page(name, command), encoding="utf-8")
    return files


def make_file_name(command: str) -> str:
    """Return the name of a command's page."""
    return command.removeprefix("python -m ").replace(".", "-").replace("_", "-") + ".md"


def format_page(name: str, command: Command) -> str:
    """Return the page of a command, Markdown."""
    context = click.Context(command, info_name=name, **command.context_settings)
    summary, _, rest = inspect.cleandoc(command.help or "").partition("\n\n")
    examples = [f"{line}  # {purpose}" for line, purpose in command.examples]
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [
        "<!-- Written by scripts/command_reference.py; do not edit. -->",
        f"# {name}",
        _format_text(summary),
        "\n".join(["```text", " ".join(usage.split()), "```"]),
        "\n".join(["```sh", *_align(examples), "```"]),
        *(_format_text(paragraph) for paragraph in rest.split("\n\n") if paragraph),
    ]
    options = {
        "help" if "--help" in option.opts else option.name: option
        for option in command.get_params(context)
        if isinstance(option, click.Option)
    }
    for title, names in command.groups.items():
        records = [options[one].get_help_record(context) for one in names]
        parts.append(f"## {title}")
        parts.append(
            "\n".join(f"- `{one[0]}`\\\n  {_format_text(one[1])}" for one in records if one)
        )
    return "\n\n".join(parts) + "\n"


def _align(lines: list[str]) -> list[str]:
    """Align the comments of command lines."""
    width = max(line.index("  # ") for line in lines)
    return [
        f"{line.partition('  # ')[0]:<{width}}  # {line.partition('  # ')[2]}" for line in lines
    ]


def _format_text(text: str) -> str:
    """Return text of a help message as Markdown, on one line, with options as code."""
    escaped = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    return _OPTION.sub(r"`\1`", escaped)


@click.command(help=__doc__.splitlines()[0])
def main() -> None:
    """Write the reference."""
    for path in write_reference():
        print(path)


if __name__ == "__main__":
    main()
