"""Run the same weights in other engines: ``python benchmarks/backends.py [NETWORK…]``.

PyTorch (eager, compiled, TorchScript), onnxruntime, OpenVINO, OpenCV and ncnn, on one thread, with
batches of 1 and 64. First, the probabilities of each engine on the average faces in `samples/` are
compared with PyTorch's: an engine with wrong outputs is reported as wrong and is not timed. Engines
that are not installed are listed and left out; ``pip install '.[all]' --group bench`` installs
them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from scipy.special import softmax

import emotion_models
from emotion_runtime import EmotionClassifier, read_face
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from harness import format_amount, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result

ROOT = Path(__file__).parent.parent
BATCH_SIZES = (1, 64)
# Of a probability: int8 differs by some hundredths, a wrong graph by much more.
MAX_DIFFERENCE = 0.1

# Maps pixels uint8 (n, 1, 48, 48) to probabilities: of all classes of the network (n, classes), or
# of the labels of the file and `other` (n, labels + 1).
Engine = Callable[[np.ndarray], np.ndarray]


def combine_outputs(probabilities: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the probabilities of the labels with `other` as a last column."""
    return np.concatenate([probabilities, other.reshape(-1, 1)], axis=1)


def keep_labels(known: np.ndarray, classes: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return what the model file computes, from the probabilities of all classes of a network."""
    kept = known[:, [classes.index(label) for label in labels]]
    total = kept.sum(axis=1, keepdims=True)
    return combine_outputs(kept / total, 1 - total)


def in_pytorch(checkpoint: Checkpoint, compiled: str | None = None) -> Engine:
    """Return an engine of PyTorch; `compiled` is None, ``compile`` or ``TorchScript``."""
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
    """Return onnxruntime with the file, opened as the toolkit opens it."""
    classifier = EmotionClassifier(model, threads=1)
    return lambda pixels: classifier.compute(pixels).with_other()


def in_openvino(model: Path) -> Engine:
    """Return OpenVINO with the file: one model for each batch size, compiled for latency."""
    # OpenVINO's import sends telemetry through this package.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
    compiled: dict[int, Any] = {}

    def run(pixels: np.ndarray) -> np.ndarray:
        if len(pixels) not in compiled:
            read = core.read_model(model)
            read.reshape(pixels.shape)
            compiled[len(pixels)] = core.compile_model(read, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        outputs = compiled[len(pixels)](pixels)
        return combine_outputs(outputs["probabilities"], outputs["other"])

    return run


def in_opencv(model: Path) -> Engine:
    """Return OpenCV's DNN module with the file."""
    import cv2

    cv2.setNumThreads(1)
    network = cv2.dnn.readNetFromONNX(str(model))
    names = network.getUnconnectedOutLayersNames()  # OpenCV 5 gives all outputs or one

    def run(pixels: np.ndarray) -> np.ndarray:
        network.setInput(pixels, "pixels")
        outputs = dict(zip(names, network.forward(names), strict=True))
        return combine_outputs(outputs["probabilities"], outputs["other"])

    return run


def in_ncnn(checkpoint: Checkpoint, folder: Path) -> Engine:
    """Return ncnn with the network, converted by its own tool; it runs one face at a time."""
    import ncnn
    import pnnx

    base = folder / checkpoint.network
    network, example = checkpoint.build(), torch.zeros(1, 1, 48, 48)
    pnnx.export(network, str(base.with_suffix(".pt")), (example,), fp16=False)
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(base.with_suffix(".ncnn.param")))
    net.load_model(str(base.with_suffix(".ncnn.bin")))

    def infer_face(face: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(face, np.float32)  # a Mat keeps no reference to it
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(pixels).clone())
            return np.array(extractor.extract("out0")[1])

    def run(pixels: np.ndarray) -> np.ndarray:
        logits = np.stack([infer_face(face) for face in pixels])
        return softmax(logits / checkpoint.temperature, axis=1)

    return run


def list_engines(
    name: str, checkpoint: Checkpoint, folder: Path
) -> dict[str, tuple[Callable[[], Engine], bool]]:
    """Return a builder of each engine for a released network, and whether it has all classes."""
    fp32, int8 = emotion_models.model_path(name), emotion_models.model_path(f"{name}-int8")
    return {
        "PyTorch": (partial(in_pytorch, checkpoint), True),
        "PyTorch, torch.compile": (partial(in_pytorch, checkpoint, "compile"), True),
        "PyTorch, TorchScript": (partial(in_pytorch, checkpoint, "TorchScript"), True),
        "onnxruntime": (partial(in_onnxruntime, fp32), False),
        "onnxruntime, int8": (partial(in_onnxruntime, int8), False),
        "OpenVINO": (partial(in_openvino, fp32), False),
        "OpenVINO, int8": (partial(in_openvino, int8), False),
        "OpenCV": (partial(in_opencv, fp32), False),
        "OpenCV, int8": (partial(in_opencv, int8), False),
        "ncnn": (partial(in_ncnn, checkpoint, folder), True),
    }


def build_engines(
    name: str, folder: Path, samples: np.ndarray
) -> tuple[dict[str, Engine], dict[str, float], dict[str, str]]:
    """Build and check the engines.

    Returns:
        The engines with right outputs, their differences from PyTorch, and the reason for each
        of the others.
    """
    right: dict[str, Engine] = {}
    differences: dict[str, float] = {}
    left_out: dict[str, str] = {}
    expected: np.ndarray | None = None
    checkpoint = load_checkpoint(emotion_models.checkpoint_path(name))
    labels = EmotionClassifier(name).labels
    for engine, (build, has_all_classes) in list_engines(name, checkpoint, folder).items():
        try:
            with _silence_output():
                run = build()
                probabilities = run(samples)
                if has_all_classes:
                    probabilities = keep_labels(probabilities, checkpoint.labels, labels)
        except ImportError as error:
            left_out[engine] = f"not installed ({error.name})"
            continue
        except Exception as error:  # noqa: BLE001  each engine has its own errors
            kind = type(error)
            left_out[engine] = f"does not run it ({kind.__module__}.{kind.__name__})"
            continue
        if expected is None:
            expected = probabilities
        difference = float(np.abs(probabilities - expected).max())
        if not difference <= MAX_DIFFERENCE:
            left_out[engine] = f"**wrong**: off by up to {difference:.2f} of a probability"
            continue
        right[engine], differences[engine] = run, difference
    return right, differences, left_out


@contextlib.contextmanager
def _silence_output() -> Iterator[None]:
    """Discard what engines print or log, from native code and warnings too."""
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


@benchmark_command(__doc__, rounds=15)
@click.argument("networks", nargs=-1)
def main(options: ResultOptions, networks: tuple[str, ...], rounds: int) -> None:
    """Print a table for each network."""
    torch.set_num_threads(1)
    samples = np.stack([read_face(p) for p in sorted((ROOT / "samples").glob("*.png"))])[:, None]
    pixels = {count: np.resize(samples, (count, 1, 48, 48)) for count in BATCH_SIZES}
    texts, lower, higher, bars = [], {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in networks or ("edge", "baseline"):
            right, differences, left_out = build_engines(name, Path(folder), samples)
            times, faster = {}, {}
            for count in BATCH_SIZES:
                cases = {engine: partial(run, pixels[count]) for engine, run in right.items()}
                # In the untimed turns torch.compile and OpenVINO compile for each shape.
                with _silence_output():
                    seconds = take_turns(
                        cases, rounds=rounds, warm_up=3, calls=20 if count == 1 else 2
                    )
                times[count] = medians(seconds, unit=1e6, count=count)
                faster[count] = {e: ratios(seconds, "PyTorch", e)[1] for e in seconds}
            texts.append(_format_engines(name, times, faster, differences, left_out))
            for engine in right:
                lower[f"{name}, {engine}, batch 1, µs"] = times[1][engine]
                higher[f"{name}, {engine}, batch 64, times PyTorch"] = faster[64][engine]
            bars |= {f"{name}: {e}": v for e, v in times[1].items()} if name == "edge" else {}
    report_result(
        options,
        "backends",
        "\n\n".join(texts),
        lower=lower,
        higher=higher,
        draw=lambda figure: draw_bars(figure, bars, "µs for one face, one thread"),
    )


def _format_engines(
    name: str,
    times: dict[int, dict[str, float]],
    faster: dict[int, dict[str, float]],
    differences: dict[str, float],
    left_out: dict[str, str],
) -> str:
    """Return the table of a network, Markdown."""
    lines = [
        f"`{name}`, one thread; µs a face, and times as fast as PyTorch:\n",
        "| engine | batch 1 | × | batch 64 | × | largest difference of a probability |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for engine, difference in differences.items():
        cells = [
            f"{format_amount(times[count][engine])} | {faster[count][engine]:.1f}"
            for count in BATCH_SIZES
        ]
        lines.append(f"| {engine} | {' | '.join(cells)} | {difference:.0e} |")
    lines += [f"| {engine} | – | – | – | – | {reason} |" for engine, reason in left_out.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
