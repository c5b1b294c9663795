"""Time one picture, from process start to prediction: ``python benchmarks/cold_start.py``.

Compares `emotion-infer` with a bare script that opens the same file and runs the same session,
with the imports that both need, with ``--help``, and with ``import torch`` where it is installed.
A second table has the import time of each package.
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

import click

import emotion_models
from harness import format_amount, format_table, medians, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result

PICTURE = Path(__file__).parent.parent / "samples" / "happy_01.png"

_PACKAGES = ("numpy", "onnxruntime", "PIL", "click", "emotion_runtime", "emotion_models")

_IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")

# The shortest script that classifies a picture with this model file.
BARE_SCRIPT = """
import sys
import numpy, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pixels = numpy.array(Image.open(sys.argv[2]).convert("L").resize((48, 48)))
print(session.run(None, {"pixels": pixels[None, None]})[1])
"""


def _build_environment() -> dict[str, str]:
    """Return the environment variables of the timed processes."""
    # An installed package has bytecode; without it the compiler would be timed too.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # emotion-infer sets this variable itself; the bare script does not.
    return kept | {"ORT_DISABLE_TELEMETRY": "1"}


def _make_case(*command: object) -> Callable[[], object]:
    """Return a function that runs a command."""
    words = [str(word) for word in command]
    environment = _build_environment()
    return lambda: subprocess.run(words, check=True, capture_output=True, env=environment)


def measure_imports(rounds: int = 5) -> dict[str, float]:
    """Return the milliseconds that each package's own modules take, by ``-X importtime``.

    A module counts for its own package, whoever imports it.
    """
    code = (
        "import emotion_runtime.infer.cli, emotion_runtime.infer.job, emotion_runtime.classifier\n"
    )
    code += "import onnxruntime, PIL.Image, PIL.PngImagePlugin"
    found: dict[str, list[float]] = {}
    environment = _build_environment()
    for _ in range(rounds):
        command = [sys.executable, "-X", "importtime", "-c", code]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        own: dict[str, float] = {}
        for microseconds, module in _IMPORT_LINE.findall(done.stderr):
            package = module.split(".")[0]
            group = package if package in _PACKAGES else "Python's own and others"
            own[group] = own.get(group, 0.0) + int(microseconds) / 1e3
        for package, value in own.items():
            found.setdefault(package, []).append(value)
    medians_ms = {package: statistics.median(values) for package, values in found.items()}
    return dict(sorted(medians_ms.items(), key=lambda item: -item[1]))


@benchmark_command(__doc__, rounds=20)
@click.option("--model", default=emotion_models.DEFAULT_MODEL, show_default=True)
def main(options: ResultOptions, model: str, rounds: int) -> None:
    """Print both tables, in milliseconds."""
    python, command = sys.executable, Path(sys.executable).with_name("emotion-infer")
    file = emotion_models.model_path(model)
    cases = {
        "bare script": _make_case(python, "-c", BARE_SCRIPT, file, PICTURE),
        "emotion-infer": _make_case(command, "--model", model, PICTURE),
        "imports alone": _make_case(python, "-c", "import numpy, onnxruntime, PIL.Image"),
        "emotion-infer --help": _make_case(command, "--help"),
    }
    if importlib.util.find_spec("torch") is not None:
        cases["import torch"] = _make_case(python, "-c", "import torch")
    seconds = take_turns(cases, rounds=rounds)
    times, imported = medians(seconds, unit=1e3), measure_imports()
    text = format_table(seconds, "bare script")
    text += "\n\nImporting, module by module (its own part):\n\n| package | ms |\n| --- | ---: |\n"
    text += "\n".join(f"| {name} | {format_amount(value)} |" for name, value in imported.items())
    report_result(
        options,
        "cold_start",
        text,
        lower={f"{name}, ms": value for name, value in times.items()},
        draw=lambda figure: draw_bars(figure, times, "ms from process start to its end"),
    )


if __name__ == "__main__":
    main()
