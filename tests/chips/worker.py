"""Compute, on one chip, what is compared with another: pixels, logits and labels.

``emulation`` runs this file with the Python of an emulated chip, and once with the Python of this
machine. It needs the light install alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime import EmotionClassifier, PictureError
from emotion_runtime.pictures.preprocessing import read_face

BATCH_SIZE = 16


def main(job_file: str) -> None:
    """Do the job that the file describes, and write its results beside the file."""
    job: dict[str, Any] = json.loads(Path(job_file).read_text(encoding="utf-8"))
    arrays: dict[str, NDArray[Any]] = {}
    results: dict[str, Any] = {"versions": find_versions(), "pictures": {}, "models": {}}
    for name in sorted(path.name for path in Path(job["pictures"]).iterdir()):
        try:
            arrays[f"picture:{name}"] = read_face(Path(job["pictures"]) / name)
        except PictureError as error:
            # The folder differs from run to run.
            results["pictures"][name] = str(error).replace(job["pictures"], "")
    for name, faces in job["models"].items():
        classifier = EmotionClassifier(name)
        test = classifier.self_test()
        pixels = np.load(faces)
        outputs = [
            classifier.compute(pixels[start : start + BATCH_SIZE])
            for start in range(0, len(pixels), BATCH_SIZE)
        ]
        labels = [
            prediction.label
            for output in outputs
            for prediction in classifier.interpret_all(output, [None] * len(output.logits))
        ]
        arrays[f"logits:{name}"] = np.concatenate([output.logits for output in outputs])
        arrays[f"probabilities:{name}"] = np.concatenate(
            [output.probabilities for output in outputs]
        )
        others = [output.other for output in outputs if output.other is not None]
        if others:
            arrays[f"other:{name}"] = np.concatenate(others)
        results["models"][name] = {
            "precision": classifier.contract.precision,
            "failures": test.failures(),
            "golden_difference": test.max_difference,
            "pixel_difference": test.pixel_difference,
            "labels": labels,
        }
    np.savez(job["arrays"], **arrays)
    Path(job["results"]).write_text(json.dumps(results), encoding="utf-8")


def find_versions() -> dict[str, str]:
    """Return the versions that a comparison depends on."""
    from importlib.metadata import version

    return {
        "Python": ".".join(map(str, sys.version_info[:3])),
        **{name: version(name) for name in ("onnxruntime", "numpy", "Pillow")},
    }


if __name__ == "__main__":
    main(sys.argv[1])
