"""Verify the finished model file: open it and run it as a device does."""

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
    require_parity,
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


def verify_file(
    path: Path, reference: Reference, faces: ParityFaces, gate: Gate
) -> list[Comparison]:
    """Run the self-test of a model file, and compare its outputs with PyTorch's.

    Args:
        path: The model file.
        reference: PyTorch's outputs.
        faces: The faces that these outputs belong to.
        gate: Limits of the parity check.

    Returns:
        A comparison with one thread, one with two threads, and, if the faces have picture files,
        one for which the runtime reads these files again with its own decoder.

    Raises:
        ParityError: The self-test or a comparison failed.
    """
    classifier = EmotionClassifier(path)
    test = classifier.self_test()
    if not test.passed:
        raise ParityError(f"the file fails its own self-test: {'; '.join(test.failures())}.")
    comparisons = [reference.compare(classifier.compute, "file", "full", max(BATCH_SIZES))]
    threaded = EmotionClassifier(path, threads=2)
    comparisons.append(reference.compare(threaded.compute, "threads", "full", max(BATCH_SIZES)))
    if faces.paths:
        read = _infer_from_files(classifier, faces.paths)
        comparisons.append(reference.compare(read, "pictures", "full", max(BATCH_SIZES)))
    require_parity(comparisons, gate)
    return comparisons


def _infer_from_files(classifier: EmotionClassifier, paths: tuple[str, ...]) -> Infer:
    """Return a function that runs the batches on the picture files instead of the given pixels.

    It must be called with all faces in order.
    """
    remaining = iter(paths)

    def infer(pixels: Pixels) -> Outputs:
        return classifier.compute(np.stack([classifier.read(next(remaining)) for _ in pixels]))

    return infer


def require_same_reader(checkpoint: Checkpoint) -> None:
    """Require that this machine reads pictures as the training did.

    Raises:
        ParityError: The probe picture has other pixels than in the checkpoint.
    """
    if not len(checkpoint.probe):
        return  # not recorded by earlier versions, nor for a network without a checkpoint
    difference = measure_pixel_difference(
        read_face(draw_probe(), checkpoint.size), checkpoint.probe.numpy()
    )
    if difference > MAX_PIXEL_DIFFERENCE:
        raise ParityError(
            f"this machine reads pictures differently than the training did: the probe picture "
            f"differs by {difference} of 255. Export with the versions of emotion-edge and Pillow "
            f"that were used for the training."
        )
