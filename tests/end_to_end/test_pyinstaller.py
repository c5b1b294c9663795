"""A one-file build with PyInstaller finds the models and all that is imported by name."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import emotion_models
import emotion_runtime
from emotion_runtime.pyinstaller_hooks import get_hook_dirs

ROOT = Path(__file__).parents[2]
# In a development environment; the light install has none of them.
OTHER_PACKAGES = ("torch", "cv2", "ray", "matplotlib", "scipy", "sklearn", "pandas", "pyarrow")
OTHER_PACKAGES += ("onnx", "sympy", "setuptools", "unittest", "pydoc", "numpy.testing")


def test_each_package_has_a_hook() -> None:
    (folder,) = get_hook_dirs()
    packages = ("emotion_models", "emotion_runtime", "emotion_train", "emotion_export")
    assert {path.name for path in Path(folder).glob("hook-*.py")} == {
        f"hook-{name}.py" for name in packages
    }


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("PyInstaller"), reason="needs PyInstaller")
def test_a_one_file_build_classifies_and_passes_its_self_test(tmp_path: Path) -> None:
    script = tmp_path / "classify.py"
    script.write_text("from emotion_runtime.__main__ import run\n\nrun()\n")
    command = [sys.executable, "-m", "PyInstaller", "--onefile", "--log-level", "WARN"]
    command += [word for name in OTHER_PACKAGES for word in ("--exclude-module", name)]
    for package in (emotion_runtime, emotion_models):  # a checkout is not on PyInstaller's path
        command += ["--paths", str(Path(str(package.__file__)).parents[1])]
    if not metadata.entry_points(group="pyinstaller40").select(
        value="emotion_runtime.pyinstaller_hooks:get_hook_dirs"
    ):  # installed editable before the hooks existed
        command += ["--additional-hooks-dir", *get_hook_dirs()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment["PYINSTALLER_CONFIG_DIR"] = str(tmp_path / "cache")
    built = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert built.returncode == 0, built.stderr
    (program,) = (tmp_path / "dist").iterdir()
    # From elsewhere, without Python's variables.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE_"))}
    for arguments, expected in (
        (["--self-test"], "self-test passed"),
        (["--self-test", "--report"], f'"onnxruntime": "{metadata.version("onnxruntime")}"'),
        (["--self-test", "-m", "baseline"], "self-test passed"),
        (["-q", str(ROOT / "samples" / "sad_01.png")], "sad "),
        (
            ["-q", "--faces", str(ROOT / "docs" / "faces.png"), "--contact-sheet", "sheet.png"],
            "surprise ",
        ),
    ):
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=clean,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert (tmp_path / "sheet.png").is_file()
