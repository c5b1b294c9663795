"""The contents of the wheel: all packages, models and commands, and no tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import emotion_models

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_contains_packages_models_and_commands(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = next(n for n in names if n.endswith("entry_points.txt"))
        commands = wheel.read(entry_points).decode()
    for package in ("emotion_models", "emotion_runtime", "emotion_train", "emotion_export"):
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    for name in emotion_models.names():
        assert f"emotion_models/{name}.onnx" in names
        assert f"emotion_models/cards/{name}.md" in names
        assert f"emotion_models/cards/{name}.html" in names
    assert "emotion_models/SHA256SUMS" in names
    assert "emotion_export/export_report.md.jinja" in names
    assert "emotion_runtime/drawing/dejavu/DejaVuSans.ttf" in names
    assert "emotion_runtime/drawing/dejavu/LICENSE" in names
    for command in (
        *("emotion-infer", "emotion-eval", "emotion-train"),
        *("emotion-export", "emotion-verify", "emotion-page"),
    ):
        assert command in commands
    assert "[pyinstaller40]" in commands
    assert "emotion_runtime/pyinstaller_hooks/hook-emotion_models.py" in names
    for name in emotion_models.checkpoint_names():
        assert f"emotion_models/checkpoints/{name}.pt" in names
    pictures = [name for name in names if name.endswith(".png")]
    assert all("page/pictures/" in name for name in pictures)  # averages of many faces
    assert not [name for name in names if "tests/" in name or Path(name).name.startswith("test_")]
