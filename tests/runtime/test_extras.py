"""A command whose packages are missing says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run_without(package: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process where `package` cannot be imported."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['x', *{list(arguments)!r}]\n"
        f"from {module}.cli import main; main(prog_name='x')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("package", "module", "arguments", "extra"),
    [
        ("torch", "emotion_train", ["faces"], "train"),
        ("matplotlib", "emotion_train", ["faces"], "train"),
        ("onnxsim", "emotion_export", ["m.onnx", "-c", "x.pt"], "export"),
    ],
)
def test_a_missing_extra_is_answered_with_its_install_line(
    package: str, module: str, arguments: list[str], extra: str
) -> None:
    done = run_without(package, module, *arguments)
    assert done.returncode == 1
    assert f"pip install 'emotion-edge[{extra}]'" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr
