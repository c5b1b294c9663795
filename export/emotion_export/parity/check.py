"""Repeat the parity check of a model file against its checkpoint, for ``emotion-verify``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from emotion_export.label_subset.subset import keep_all, keep_labels
from emotion_export.parity.comparison import (
    GATES,
    Comparison,
    ParityError,
    Reference,
    require_parity,
)
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.file import require_same_reader, verify_file
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.model.contract import Contract
from emotion_train.checkpoints.checkpoint import Checkpoint


def verify_against_checkpoint(
    path: Path,
    checkpoint: Checkpoint,
    faces: ParityFaces,
    on_step: Callable[[], None] = lambda: None,
) -> list[Comparison]:
    """Compare a file with the checkpoint that it was exported from.

    The limits are those of the file's precision, or the relaxed ones that the file records.

    Args:
        path: The model file.
        checkpoint: Its checkpoint.
        faces: Faces of the parity check.
        on_step: Called after each comparison of the graph and once at the end.

    Raises:
        ModelFileError: The file was not made by this toolkit.
        ParityError: The file and the checkpoint differ, or have other labels.
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
    required = min(gate.label_agreement, _get_relaxed_agreement(contract, gate.label_agreement))
    gate = replace(gate, label_agreement=required)
    reference = Reference(
        checkpoint.build(),
        checkpoint.temperature,
        faces.pixels,
        subset,
        contract.other_threshold,
    )
    comparisons = reference.compare_graph(path.read_bytes(), contract.precision, on_step)
    require_parity(comparisons, gate)
    comparisons += verify_file(path, reference, faces, gate)
    on_step()
    return comparisons


def _get_relaxed_agreement(contract: Contract, required: float) -> float:
    """Return the label agreement that was allowed at export; `required` if it was not relaxed."""
    figures = contract.parity.get(contract.precision)
    relaxed = figures.get("loosened") if isinstance(figures, dict) else None
    allowed = relaxed.get("label_agreement") if isinstance(relaxed, dict) else None
    return float(allowed) if isinstance(allowed, int | float) and 0 <= allowed <= 1 else required
