"""Run the same weights in other engines: ``python benchmarks/backends.py``.

PyTorch (eager, compiled, TorchScript), onnxruntime, OpenVINO, OpenCV and ncnn, on one thread, at
batch 1 and 64. Every engine's probabilities on the average faces of `samples/` are compared with
PyTorch's first: a fast wrong answer is shown as wrong, and has no time. Engines that are not
installed are named and passed over; ``pip install '.[bench]'`` brings them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

import emotion_models
from emotion_runtime import EmotionClassifier, read_face
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from harness import amount, medians, ratios, take_turns
from results import draw_bars, finish, options

ROOT = Path(__file__).parent.parent
BATCHES = (1, 64)
ALLOWED = 0.1  # of a probability: int8 is off by some hundredths, a wrong graph by most of it

# Maps pixels uint8 (n, 1, 48, 48) to probabilities (n, classes).
Engine = Callable[[np.ndarray], np.ndarray]


def torch_eager(checkpoint: Checkpoint, compiled: str | None = None) -> Engine:
    """Build PyTorch's own engines; `compiled` is None, ``compile`` or ``TorchScript``."""
    network: Any = checkpoint.build()
    example = torch.zeros(2, 1, 48, 48, dtype=torch.uint8)
    if compiled == "compile":
        network = torch.compile(network, dynamic=False)
    elif compiled == "TorchScript":
        network = torch.jit.optimize_for_inference(torch.jit.trace(network, example))

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        logits = network(torch.from_numpy(pixels)) / checkpoint.temperature
        return torch.softmax(logits, dim=1).numpy()

    return run


def in_onnxruntime(model: Path) -> Engine:
    """Run the file as the toolkit does."""
    classifier = EmotionClassifier(model, threads=1)
    return lambda pixels: classifier.infer(pixels)[1]


def in_openvino(model: Path) -> Engine:
    """Run the file in OpenVINO, one compiled model for each batch size, for latency."""
    # Its import reports to its maker through this package; without it, to nobody.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
    built: dict[int, Any] = {}

    def run(pixels: np.ndarray) -> np.ndarray:
        if len(pixels) not in built:
            read = core.read_model(model)
            read.reshape(pixels.shape)
            built[len(pixels)] = core.compile_model(read, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        return np.array(built[len(pixels)](pixels)["probabilities"])

    return run


def in_opencv(model: Path) -> Engine:
    """Run the file in OpenCV's DNN module."""
    import cv2

    cv2.setNumThreads(1)
    network = cv2.dnn.readNetFromONNX(str(model))

    def run(pixels: np.ndarray) -> np.ndarray:
        network.setInput(pixels, "pixels")
        return network.forward("probabilities")

    return run


def in_ncnn(checkpoint: Checkpoint, folder: Path) -> Engine:
    """Convert the network by ncnn's own tool; it has no batches, so the faces go one by one."""
    import ncnn
    import pnnx

    base = folder / checkpoint.network
    network, example = checkpoint.build(), torch.zeros(1, 1, 48, 48)
    pnnx.export(network, str(base.with_suffix(".pt")), (example,), fp16=False)
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(base.with_suffix(".ncnn.param")))
    net.load_model(str(base.with_suffix(".ncnn.bin")))

    def one(face: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(face, np.float32)  # a Mat does not keep it alive
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(pixels).clone())
            return np.array(extractor.extract("out0")[1])

    def run(pixels: np.ndarray) -> np.ndarray:
        logits = np.stack([one(face) for face in pixels])
        return softmax(logits / checkpoint.temperature, axis=1)

    return run


def engines(name: str, folder: Path) -> dict[str, Callable[[], Engine]]:
    """List what can run the released network `name`, each to be built when it is wanted."""
    checkpoint = load_checkpoint(emotion_models.checkpoint_path(name))
    fp32, int8 = emotion_models.model_path(name), emotion_models.model_path(f"{name}-int8")
    return {
        "PyTorch": partial(torch_eager, checkpoint),
        "PyTorch, torch.compile": partial(torch_eager, checkpoint, "compile"),
        "PyTorch, TorchScript": partial(torch_eager, checkpoint, "TorchScript"),
        "onnxruntime": partial(in_onnxruntime, fp32),
        "onnxruntime, int8": partial(in_onnxruntime, int8),
        "OpenVINO": partial(in_openvino, fp32),
        "OpenVINO, int8": partial(in_openvino, int8),
        "OpenCV": partial(in_opencv, fp32),
        "OpenCV, int8": partial(in_opencv, int8),
        "ncnn": partial(in_ncnn, checkpoint, folder),
    }


def build(
    name: str, folder: Path, samples: np.ndarray
) -> tuple[dict[str, Engine], dict[str, float], dict[str, str]]:
    """Build the engines and check them; returns the right ones, their differences, and the rest."""
    right: dict[str, Engine] = {}
    differences: dict[str, float] = {}
    out: dict[str, str] = {}
    expected: np.ndarray | None = None
    for engine, make in engines(name, folder).items():
        try:
            with _quiet():
                run = make()
                answers = run(samples)
        except ImportError as error:
            out[engine] = f"not installed ({error.name})"
            continue
        except Exception as error:  # noqa: BLE001  each engine has errors of its own
            kind = type(error)
            out[engine] = f"does not run it ({kind.__module__}.{kind.__name__})"
            continue
        if expected is None:
            expected = answers
        difference = float(np.abs(answers - expected).max())
        if not difference <= ALLOWED:
            out[engine] = f"**wrong**: off by up to {difference:.2f} of a probability"
            continue
        right[engine], differences[engine] = run, difference
    return right, differences, out


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what tools print or log to nowhere, native ones and deprecations too."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for stream, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


def main() -> None:
    """Print a table for each network."""
    parser = options(__doc__, rounds=15)
    parser.add_argument("--networks", nargs="+", default=["edge", "baseline"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    samples = np.stack([read_face(p) for p in sorted((ROOT / "samples").glob("*.png"))])[:, None]
    pixels = {count: np.resize(samples, (count, 1, 48, 48)) for count in BATCHES}
    texts, lower, higher, bars = [], {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.networks:
            right, differences, out = build(name, Path(folder), samples)
            times, faster = {}, {}
            for count in BATCHES:
                cases = {engine: partial(run, pixels[count]) for engine, run in right.items()}
                # torch.compile and OpenVINO build once for each shape, in the untimed turns.
                with _quiet():
                    seconds = take_turns(
                        cases, rounds=chosen.rounds, warm_up=3, calls=20 if count == 1 else 2
                    )
                times[count] = medians(seconds, unit=1e6, count=count)
                faster[count] = {e: ratios(seconds, "PyTorch", e)[1] for e in seconds}
            texts.append(_table(name, times, faster, differences, out))
            for engine in right:
                lower[f"{name}, {engine}, batch 1, µs"] = times[1][engine]
                higher[f"{name}, {engine}, batch 64, times PyTorch"] = faster[64][engine]
            bars |= {f"{name}: {e}": v for e, v in times[1].items()} if name == "edge" else {}
    finish(
        chosen,
        "backends",
        "\n\n".join(texts),
        lower=lower,
        higher=higher,
        draw=lambda figure: draw_bars(figure, bars, "µs for one face, one thread"),
    )


def _table(
    name: str,
    times: dict[int, dict[str, float]],
    faster: dict[int, dict[str, float]],
    differences: dict[str, float],
    out: dict[str, str],
) -> str:
    lines = [
        f"`{name}`, one thread; µs a face, and times as fast as PyTorch:\n",
        "| engine | batch 1 | × | batch 64 | × | largest difference of a probability |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for engine, difference in differences.items():
        cells = [f"{amount(times[n][engine])} | {faster[n][engine]:.1f}" for n in BATCHES]
        lines.append(f"| {engine} | {' | '.join(cells)} | {difference:.0e} |")
    lines += [f"| {engine} | – | – | – | – | {reason} |" for engine, reason in out.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
