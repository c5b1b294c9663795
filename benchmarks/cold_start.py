"""Time one picture, from process start to answer: ``python benchmarks/cold_start.py``.

Beside `emotion-infer`: a bare script that imports what it needs, opens the same file and runs the
same session; the imports that both cannot do without; ``--help``; and, where it is installed,
nothing but ``import torch``. Then what is imported on the way, module by module.
"""

from __future__ import annotations

import importlib.util
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import emotion_models
from harness import amount, medians, table, take_turns
from results import draw_bars, finish, options

PICTURE = Path(__file__).parent.parent / "samples" / "happy_01.png"

_PACKAGES = ("numpy", "onnxruntime", "PIL", "click", "emotion_runtime", "emotion_models")

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")

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


def _environment() -> dict[str, str]:
    """Return the environment of what is timed, the same for all."""
    # An installed package has its bytecode; without it one would time the compiler.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"ORT_DISABLE_TELEMETRY": "1"}  # as emotion-infer sets it: the bare script too


def _run(*command: object) -> Callable[[], object]:
    words = [str(word) for word in command]
    environment = _environment()
    return lambda: subprocess.run(words, check=True, capture_output=True, env=environment)


def import_times(rounds: int = 5) -> dict[str, float]:
    """Measure what the command imports, by Python's own -X importtime; ms, without what is shared.

    A module that another one imported first counts there.
    """
    code = (
        "import emotion_runtime.infer.cli, emotion_runtime.infer.job, emotion_runtime.classifier\n"
    )
    code += "import onnxruntime, PIL.Image, PIL.PngImagePlugin"
    found: dict[str, list[float]] = {}
    environment = _environment()
    for _ in range(rounds):
        command = [sys.executable, "-X", "importtime", "-c", code]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        own: dict[str, float] = {}
        for microseconds, module in re.findall(
            r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)", done.stderr
        ):
            package = module.split(".")[0]
            kept = package if package in _PACKAGES else "Python's own and others"
            own[kept] = own.get(kept, 0.0) + int(microseconds) / 1e3
        for package, value in own.items():
            found.setdefault(package, []).append(value)
    medians_ms = {package: statistics.median(values) for package, values in found.items()}
    return dict(sorted(medians_ms.items(), key=lambda item: -item[1]))


def main() -> None:
    """Print both tables, in milliseconds."""
    parser = options(__doc__, rounds=20)
    parser.add_argument("--model", default=emotion_models.DEFAULT_MODEL)
    chosen = parser.parse_args()
    python, command = sys.executable, Path(sys.executable).with_name("emotion-infer")
    model = emotion_models.model_path(chosen.model)
    cases = {
        "bare script": _run(python, "-c", BARE, model, PICTURE),
        "emotion-infer": _run(command, "--model", chosen.model, PICTURE),
        "imports alone": _run(python, "-c", "import numpy, onnxruntime, PIL.Image"),
        "emotion-infer --help": _run(command, "--help"),
    }
    if importlib.util.find_spec("torch") is not None:
        cases["import torch"] = _run(python, "-c", "import torch")
    seconds = take_turns(cases, rounds=chosen.rounds)
    times, imported = medians(seconds, unit=1e3), import_times()
    text = table(seconds, "bare script")
    text += "\n\nImporting, module by module (its own part):\n\n| package | ms |\n| --- | ---: |\n"
    text += "\n".join(f"| {name} | {amount(value)} |" for name, value in imported.items())
    finish(
        chosen,
        "cold_start",
        text,
        lower={f"{name}, ms": value for name, value in times.items()},
        draw=lambda figure: draw_bars(figure, times, "ms from process start to its end"),
    )


if __name__ == "__main__":
    main()
