"""Commands with missing packages name the install command."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from emotion_runtime.command_line.extras import make_install_command


def run_without(package: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that cannot import `package`."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['x', *{list(arguments)!r}]\n"
        f"from {module}cli import main; main(prog_name='x')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("package", "module", "arguments", "extra"),
    [
        ("torch", "emotion_train.", ["faces"], "train"),
        ("matplotlib", "emotion_train.", ["faces"], "train"),
        ("onnxsim", "emotion_export.", ["m.onnx", "-c", "x.pt"], "export"),
        ("onnx", "emotion_export.verify_", ["m.onnx"], "export"),
    ],
)
def test_the_error_on_a_missing_extra_has_its_install_command(
    package: str, module: str, arguments: list[str], extra: str
) -> None:
    done = run_without(package, module, *arguments)
    assert done.returncode == 1
    assert "pip install " in done.stderr
    assert f"[{extra}]" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr


class Installed:
    """A distribution with pip's record of its source."""

    def __init__(self, record: object) -> None:
        self.record = record

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.record if self.record is None or isinstance(self.record, str) else None


@pytest.mark.parametrize(
    ("record", "hint"),
    [
        (None, "pip install 'emotion-edge[train]'"),
        ({"url": "file://PROJECT", "dir_info": {}}, "pip install 'PROJECT[train]'"),
        (
            {"url": "file://PROJECT", "dir_info": {"editable": True}},
            "pip install -e 'PROJECT[train]'",
        ),
        (
            {"url": "file://PROJECT/e%20e.whl", "archive_info": {}},
            "pip install 'PROJECT/e e.whl[train]'",
        ),
        (
            {
                "url": "https://example.org/e.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
            },
            "pip install 'emotion-edge[train] @ git+https://example.org/e.git@abc'",
        ),
        (
            {"url": "https://example.org/e.whl", "archive_info": {}},
            "pip install 'emotion-edge[train] @ https://example.org/e.whl'",
        ),
        ({"url": "file:///gone/since", "dir_info": {}}, "pip install 'emotion-edge[train]'"),
        ("no JSON", "pip install 'emotion-edge[train]'"),
    ],
)
def test_the_install_command_has_the_source_of_the_installation(
    record: object, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyproject.toml", "e e.whl"):
        (tmp_path / name).touch()
    text = record if record is None or isinstance(record, str) else json.dumps(record)
    text = text and text.replace("PROJECT", str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(text))
    assert make_install_command("train") == hint.replace("PROJECT", str(tmp_path))


def test_a_checkout_that_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", missing)
    root = Path(__file__).parents[2]
    if not (root / "runtime").is_dir():
        pytest.skip("the package is not run from this checkout")
    assert make_install_command("faces") == f"pip install -e '{root}[faces]'"
