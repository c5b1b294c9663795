"""Metrics of a model file on labelled faces, for its contract."""

from __future__ import annotations

from typing import Any

from emotion_export.label_subset.figures import OtherEvaluator
from emotion_export.label_subset.threshold import Thresholds
from emotion_export.parity.comparison import Infer, run_in_batches
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.faces import Faces
from emotion_train.evaluation import measure


def measure_file(
    checkpoint: Checkpoint,
    infer: Infer,
    precision: str,
    held_out: Faces | None,
    test: Faces | None,
) -> dict[str, Any]:
    """Return the metrics of a file that keeps all classes.

    An fp32 file computes what the network computes, so the metrics of the training are kept and
    only a missing test split is measured. A file in fp16 or int8 is measured itself.

    Args:
        checkpoint: Labels, temperature, and the metrics of the network.
        infer: Runs the file.
        precision: ``fp32``, ``fp16`` or ``int8``.
        held_out: Held-out faces; None if there are none.
        test: Test faces; None if there are none.

    Returns:
        JSON values by split; `float_network` holds the metrics of the network.
    """
    if precision == "fp32":
        metrics = dict(checkpoint.metrics)
        if test is not None and "test" not in metrics:
            metrics["test"] = _measure_faces(checkpoint, infer, test)
        return metrics
    metrics = {"float_network": checkpoint.metrics}
    for name, faces in (("test", test), ("held-out", held_out)):
        if faces is not None:
            metrics[name] = _measure_faces(checkpoint, infer, faces)
    return metrics


def measure_file_with_other(
    evaluator: OtherEvaluator, thresholds: Thresholds, test: Faces | None
) -> dict[str, Any]:
    """Return the metrics of a file with the output `other`.

    Args:
        evaluator: Runs the file and the whole network.
        thresholds: The thresholds, with the held-out faces that they were chosen on.
        test: Test faces; None if there are none.

    Returns:
        JSON values by split; `all_classes` holds the metrics of the whole network.
    """
    held_out = evaluator.measure(thresholds.held_out)
    held_out["other"]["out_of_fold"] = thresholds.out_of_fold
    metrics = {"all_classes": evaluator.checkpoint.metrics, "held-out": held_out}
    if test is not None:
        metrics["test"] = evaluator.measure(test)
    return metrics


def _measure_faces(checkpoint: Checkpoint, infer: Infer, faces: Faces) -> dict[str, Any]:
    logits = run_in_batches(infer, faces.pixels).logits
    metrics = measure(logits, faces.labels, checkpoint.temperature)
    return metrics.to_dict(checkpoint.labels)
