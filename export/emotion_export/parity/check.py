"""Repeat the parity check of a file: does it compute what its checkpoint computes, here?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from emotion_export.label_subset.subset import keep_all, keep_labels
from emotion_export.parity.comparison import GATES, Comparison, ParityError, Reference, require
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.file import prove_file, require_same_reader
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.model.contract import Contract
from emotion_train.checkpoints.checkpoint import Checkpoint


def check_file(
    path: Path,
    checkpoint: Checkpoint,
    faces: ParityFaces,
    on_step: Callable[[], None] = lambda: None,
) -> list[Comparison]:
    """Compare a file with the checkpoint it was exported from, by the gates of its precision.

    Raises:
        ModelFileError: It is no file of this toolkit.
        ParityError: It does not answer as the checkpoint does, or has other labels.
    """
    require_same_reader(checkpoint)
    contract = EmotionClassifier(path).contract
    subset = keep_all(checkpoint.labels)
    if contract.other_threshold is not None and set(contract.labels) < set(checkpoint.labels):
        subset = keep_labels(checkpoint.labels, contract.labels)
    if contract.labels != subset.labels or contract.other_classes != subset.other_classes:
        raise ParityError(
            f"its labels are {', '.join(contract.labels)}, those of the checkpoint "
            f"{', '.join(checkpoint.labels)}."
        )
    if contract.precision not in GATES:
        raise ParityError("its precision is none that emotion-export writes.")
    gate = GATES[contract.precision]
    required = min(gate.label_agreement, _loosened(contract, gate.label_agreement))
    gate = replace(gate, label_agreement=required)
    reference = Reference(
        checkpoint.build(),
        checkpoint.temperature,
        faces.pixels,
        subset,
        contract.other_threshold,
    )
    comparisons = reference.compare_graph(path.read_bytes(), contract.precision, on_step)
    require(comparisons, gate)
    comparisons += prove_file(path, reference, faces, gate)
    on_step()
    return comparisons


def _loosened(contract: Contract, required: float) -> float:
    """Return the label agreement that was allowed by hand when the file was made."""
    figures = contract.parity.get(contract.precision)
    loosened = figures.get("loosened") if isinstance(figures, dict) else None
    allowed = loosened.get("label_agreement") if isinstance(loosened, dict) else None
    return float(allowed) if isinstance(allowed, int | float) and 0 <= allowed <= 1 else required
