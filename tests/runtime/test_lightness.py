"""The runtime imports no heavy package, and no module before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "torchvision",
    "onnx",
    "onnxsim",
    "matplotlib",
    "sklearn",
    "scipy",
    "tqdm",
    "click",
)


def modules_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return {line.partition(".")[0] for line in done.stdout.splitlines()}


def test_importing_the_package_loads_nothing() -> None:
    loaded = modules_after("import emotion_runtime")
    assert not loaded & {*HEAVY, "numpy", "PIL", "onnxruntime"}


def test_classifying_needs_no_training_package() -> None:
    loaded = modules_after("from emotion_runtime import EmotionClassifier")
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    "module", ["emotion_runtime.infer.cli", "emotion_train.cli", "emotion_export.cli"]
)
def test_help_imports_nothing_heavy(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert not loaded & {*HEAVY, "onnxruntime"} - {"click"}


def test_a_prediction_loads_neither_openssl_nor_masked_arrays(model_file: Path) -> None:
    """Both take milliseconds at the start, and numpy imports numpy.ma under its own lock."""
    code = (
        "import sys, numpy; from emotion_runtime import EmotionClassifier\n"
        "EmotionClassifier(sys.argv[1]).predict(numpy.zeros((60, 60), numpy.uint8))\n"
        "print(sorted({'_hashlib', 'numpy.ma'} & set(sys.modules)))"
    )
    # coverage writes a file and imports its own modules.
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    environment = unmeasured | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(model_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
