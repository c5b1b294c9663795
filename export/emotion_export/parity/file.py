"""The last proof: the finished file, opened and fed as a device does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emotion_export.parity.comparison import (
    BATCH_SIZES,
    Comparison,
    Gate,
    Infer,
    ParityError,
    Reference,
    require,
)
from emotion_export.parity.faces import ParityFaces
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.model.outputs import Outputs
from emotion_runtime.model.self_test import (
    MAX_PIXEL_DIFFERENCE,
    draw_probe,
    measure_pixel_difference,
)
from emotion_runtime.pictures.preprocessing import Pixels, read_face
from emotion_train.checkpoints.checkpoint import Checkpoint


def prove_file(
    path: Path, reference: Reference, faces: ParityFaces, gate: Gate
) -> list[Comparison]:
    """Open a file through its contract; golden inputs, every face, every picture.

    Returns:
        A comparison on the pixels with one thread and with two, and one on the picture files
        where there are some, read again by the runtime with whatever decoder it has.

    Raises:
        ParityError: Something does not hold.
    """
    classifier = EmotionClassifier(path)
    test = classifier.self_test()
    if not test.passed:
        raise ParityError(f"the file fails its own self-test: {'; '.join(test.failures())}.")
    found = [reference.compare(classifier.compute, "file", "full", max(BATCH_SIZES))]
    several = EmotionClassifier(path, threads=2)
    found.append(reference.compare(several.compute, "threads", "full", max(BATCH_SIZES)))
    if faces.paths:
        read = _rereading(classifier, faces.paths)
        found.append(reference.compare(read, "pictures", "full", max(BATCH_SIZES)))
    require(found, gate)
    return found


def _rereading(classifier: EmotionClassifier, paths: tuple[str, ...]) -> Infer:
    """Answer batches in order, each from its picture files instead of the pixels given."""
    remaining = iter(paths)

    def infer(pixels: Pixels) -> Outputs:
        return classifier.compute(np.stack([classifier.read(next(remaining)) for _ in pixels]))

    return infer


def require_same_reader(checkpoint: Checkpoint) -> None:
    """Refuse to export with code that reads pictures otherwise than the training did.

    Raises:
        ParityError: The probe picture comes out differently.
    """
    if not len(checkpoint.probe):
        return  # a checkpoint of before there was a probe, or one that was never measured
    difference = measure_pixel_difference(
        read_face(draw_probe(), checkpoint.size), checkpoint.probe.numpy()
    )
    if difference > MAX_PIXEL_DIFFERENCE:
        raise ParityError(
            f"pictures are read otherwise than in training: the probe picture differs by "
            f"{difference} of 255. Export with the emotion-edge and the Pillow of the training."
        )
