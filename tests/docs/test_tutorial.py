"""The tutorial's commands run in its order, and print what it shows."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
STEP = re.compile(
    r"^```(sh|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)
# Installations, which other tests make.
INSTALLATION = re.compile(r"(pip install|python -m venv|\. \.venv)\b")


def mask(line: str) -> str:
    """Return a line with one sign for each number, and single spaces."""
    return " ".join(re.sub(r"\d[\d,.]*(e-?\d+)?", "#", line).split())


def assert_shown(shown: str, printed: str) -> None:
    """Compare lines in their order; numbers may differ, and … leaves lines out."""
    lines = iter(map(mask, printed.splitlines()))
    gap = False
    for expected in map(mask, shown.splitlines()):
        if expected == "…":
            gap = True
            continue
        line = next(lines, None)
        while gap and line is not None and line != expected:
            line = next(lines, None)
        assert line == expected, f"not printed as shown: {expected}\n\n{printed}"
        gap = False
    assert gap or next(lines, None) is None, f"more is printed than shown:\n\n{printed}"


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(
    train: Callable[..., Result],
    export: Callable[..., Result],
    evaluate: Callable[..., Result],
    infer: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = {
        "emotion-train": train,
        "emotion-export": export,
        "emotion-eval": evaluate,
        "emotion-infer": infer,
    }
    ran = []
    for language, code, shown in STEP.findall(TUTORIAL.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, str(TUTORIAL), "exec"), {})
            assert capsys.readouterr().out == "sad\n"
            continue
        printed = ""
        for line in code.splitlines():
            name, *words = shlex.split(line)
            if INSTALLATION.match(line):
                continue
            if name == "cp":
                shutil.copy(TUTORIAL.parents[1] / words[0], words[1])
            elif name == "python":
                monkeypatch.setattr("sys.argv", words)
                runpy.run_path(words[0], run_name="__main__")
                printed += capsys.readouterr().out
            else:
                result = commands[name](*words)
                assert result.exit_code == 0, result.output
                printed += result.output
            ran.append(name)
        if shown:
            assert_shown(shown, printed)
    assert (
        ran
        == ["cp", "python", "emotion-train", "emotion-export", "emotion-eval"]
        + ["emotion-infer"] * 3
    )
