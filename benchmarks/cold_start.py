"""Time one picture, from process start to answer: ``python benchmarks/cold_start.py``.

Beside `emotion-infer`: a bare script that imports what it needs, opens the same file and runs the
same session; the imports that both cannot do without; ``--help``; and, where it is installed,
nothing but ``import torch``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import report, table, take_turns

import emotion_models

PICTURE = Path(__file__).parent.parent / "samples" / "happy_01.png"

# The least that classifies a picture with this model file.
BARE = """
import sys
import numpy, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pixels = numpy.array(Image.open(sys.argv[2]).convert("L").resize((48, 48)))
print(session.run(None, {"pixels": pixels[None, None]})[1])
"""


def _run(*command: object) -> Callable[[], object]:
    words = [str(word) for word in command]
    # An installed package has its bytecode; without it one would time the compiler.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run(words, check=True, capture_output=True, env=environment)


def main() -> None:
    """Print a table of milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=emotion_models.DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    python, command = sys.executable, Path(sys.executable).with_name("emotion-infer")
    model = emotion_models.model_path(options.model)
    cases = {
        "bare script": _run(python, "-c", BARE, model, PICTURE),
        "emotion-infer": _run(command, "--model", options.model, PICTURE),
        "imports alone": _run(python, "-c", "import numpy, onnxruntime, PIL.Image"),
        "emotion-infer --help": _run(command, "--help"),
    }
    if importlib.util.find_spec("torch") is not None:
        cases["import torch"] = _run(python, "-c", "import torch")
    seconds = take_turns(cases, rounds=options.rounds)
    report("cold_start", table(seconds, "bare script"), {"seconds": seconds})


if __name__ == "__main__":
    main()
