"""The report of a self-test: what a device computes, how fast, and with which versions.

It is one line of JSON that the owner of a device can send to the maintainers. Nothing sends it. It
contains no folder, no name of a user or host, and no picture; of a model, the name of its file.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_runtime import __version__
from emotion_runtime.infer.cpu_description import describe_cpu
from emotion_runtime.versions import find_version

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.model.self_test import SelfTest

VERSION = 1  # of the report's fields

_WARM_UP_RUNS = 5
_MAX_RUNS = 200
_MAX_SECONDS = 5.0  # of all runs together, for slow devices
_MIN_RUNS_OF_P99 = 100  # with fewer runs, the 99th percentile would be the slowest run

_STATUS = Path("/proc/self/status")


def make_report(
    classifier: EmotionClassifier, test: SelfTest, *, threads: int, provider: str
) -> dict[str, Any]:
    """Measure the latency of a classifier, and return the report of its self-test, for JSON.

    Args:
        classifier: The classifier that was tested.
        test: The result of its self-test.
        threads: Its threads of onnxruntime.
        provider: Its execution provider.
    """
    contract = classifier.contract
    latency = measure_latency(classifier)
    return {
        "report": VERSION,
        "passed": test.passed,
        "failures": test.failures(),
        "model": {
            "name": classifier.model_path.name,
            "sha256": classifier.model_sha256,
            "network": contract.network,
            "precision": contract.precision,
        },
        "self_test": dataclasses.asdict(test),
        "latency": {**latency, "batch_size": 1, "threads": threads, "provider": provider},
        "peak_memory_mib": measure_peak_memory(),
        "cpu": describe_cpu(),
        "system": {
            "os": platform.system(),
            "release": platform.release(),
            "libc": " ".join(platform.libc_ver()).strip() or None,
        },
        "versions": {
            "python": platform.python_version(),
            "emotion-edge": __version__,
            **{name: find_version(name) for name in ("onnxruntime", "numpy", "Pillow")},
        },
    }


def measure_latency(classifier: EmotionClassifier) -> dict[str, float | int | None]:
    """Measure the time from the pixels of one face to its probabilities, without decoding.

    Args:
        classifier: Computes the first golden input of its model file again and again.

    Returns:
        The median ``p50_ms`` and the 99th percentile ``p99_ms`` in milliseconds, and the number of
        ``runs``. The percentile is None where fewer than a hundred runs fit into five seconds.
    """
    face = classifier.contract.golden.pixels[:1]
    for _ in range(_WARM_UP_RUNS):
        classifier.compute(face)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < _MAX_RUNS and time.perf_counter() - started < _MAX_SECONDS:
        before = time.perf_counter()
        classifier.compute(face)
        times.append(time.perf_counter() - before)
    p50, p99 = (round(float(value) * 1000, 4) for value in np.percentile(times, [50, 99]))
    return {
        "p50_ms": p50,
        "p99_ms": p99 if len(times) >= _MIN_RUNS_OF_P99 else None,
        "runs": len(times),
    }


def measure_peak_memory(status: Path = _STATUS) -> float | None:
    """Return the largest resident memory of this process so far, in MiB; None where unknown.

    Args:
        status: Linux's description of the process. Its peak is preferred to that of `getrusage`,
            which includes the peak of the parent process.
    """
    try:
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return round(int(value.split()[0]) / 1024, 1)
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
