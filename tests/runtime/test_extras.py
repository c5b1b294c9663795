"""Commands with missing packages name the install command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from emotion_runtime.command_line.extras import EXTRA_MODULES, make_install_command

ROOT = Path(__file__).parents[2]


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


def test_commands_need_only_what_their_extra_installs() -> None:
    """torchvision was needed long after the extra had dropped it, so that no command started."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    modules = {"scikit-learn": "sklearn", "opencv-python-headless": "cv2"}

    def list_modules(extra: str) -> set[str]:
        names: set[str] = set()
        for requirement in extras[extra]:
            name, _, part = re.split(r"[>=;]", requirement)[0].strip(" ]").partition("[")
            if name == "emotion-edge":
                names |= list_modules(part)
            else:
                names.add(modules.get(name, name))
        return names

    # ray[data] contains pyarrow.
    assert {*EXTRA_MODULES["ray"]} == list_modules("ray") | {"pyarrow"}
    # The command has checked for the modules of [train] when it checks for TensorBoard.
    assert {*EXTRA_MODULES["tensorboard"]} == list_modules("tensorboard") - list_modules("train")
    for extra in ("train", "export", "faces"):
        assert {*EXTRA_MODULES[extra]} == list_modules(extra)


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
