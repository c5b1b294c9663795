"""The figures of a parity check: for ``MODEL.parity.json``, and in short for the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from emotion_export.graph.convert import get_opset
from emotion_export.graph.simplify import count_operators
from emotion_export.parity.comparison import Comparison, Gate
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.paired_comparison import min_agreeing_labels
from emotion_runtime import __version__
from emotion_runtime.digest import compute_sha256
from emotion_runtime.model.contract import Contract
from emotion_runtime.versions import find_version

WEIGHTS_KEY = "weights_sha256"  # names the checkpoint in the parity metadata of a model file

_TOOLS = ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy")


def make_parity_report(
    *,
    name: str,
    file: Path,
    contract: Contract,
    weights: Mapping[str, str],
    graphs: Mapping[str, onnx.ModelProto],
    faces: ParityFaces,
    gate: Gate,
    comparisons: Sequence[Comparison],
    precision_figures: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parity report of a file that passed, as JSON values.

    Args:
        name: The name of the model file.
        file: The file itself, which may still have a temporary name.
        contract: Its metadata.
        weights: The digest of the checkpoint's weights under `WEIGHTS_KEY`; empty for a network
            without a checkpoint.
        graphs: The graph after each stage.
        faces: Faces of the parity check.
        gate: Limits of the parity check.
        comparisons: All comparisons with PyTorch.
        precision_figures: What fp16 or int8 costs; empty for fp32.
    """
    graph = list(graphs.values())[-1]
    return {
        "model": name,
        "sha256": compute_sha256(file),
        "bytes": file.stat().st_size,
        "network": contract.network,
        "labels": list(contract.labels),
        **_describe_other(contract),
        **weights,
        "precision": contract.precision,
        "opset": get_opset(graph),
        "ir_version": graph.ir_version,
        "operators": {stage: count_operators(model) for stage, model in graphs.items()},
        "faces": faces.describe(),
        "gate": {**asdict(gate), **_compute_min_agreement(gate, comparisons)},
        **({contract.precision: precision_figures} if precision_figures else {}),
        "comparisons": [one.to_dict() for one in comparisons],
        "tool_versions": contract.tool_versions,
        "passed": True,
    }


def summarise_parity(comparisons: Sequence[Comparison], faces: ParityFaces) -> dict[str, Any]:
    """Return the worst figures of the comparisons, JSON values for the contract."""
    summary = {
        "faces": len(faces.pixels),
        "real_faces": faces.real,
        "max_logit_difference": _round(max(one.max_logit_difference for one in comparisons)),
        "max_probability_difference": _round(
            max(one.max_probability_difference for one in comparisons)
        ),
        "label_agreement": min(one.label_agreement for one in comparisons),
    }
    others = [
        one.max_other_difference for one in comparisons if one.max_other_difference is not None
    ]
    if others:
        summary["max_other_difference"] = _round(max(others))
    return summary


def collect_tool_versions() -> dict[str, str]:
    """Return the versions of the packages that make a model file."""
    found = {name: find_version(name) or "unknown" for name in _TOOLS}
    return {"emotion-edge": __version__, **found}


def _describe_other(contract: Contract) -> dict[str, Any]:
    """Return the threshold, classes and metrics of the output `other`; empty without it."""
    if contract.other_threshold is None:
        return {}
    metrics = {
        split: {name: one for name, one in values.items() if name.startswith(("other", "every"))}
        for split, values in contract.metrics.items()
        if split in ("held-out", "test")
    }
    return {
        "other": {
            "threshold": contract.other_threshold,
            "classes": list(contract.other_classes),
            "metrics": metrics,
        }
    }


def _compute_min_agreement(gate: Gate, comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Return the number of faces that the gate counts, and the share of them that must agree."""
    faces = max(gate.count_faces(one) for one in comparisons)
    agreement = min_agreeing_labels(faces, gate.label_agreement) / faces
    return {"faces_counted": faces, "label_agreement_on_these_faces": agreement}


def _round(value: float) -> float:
    return float(f"{value:.3g}")
