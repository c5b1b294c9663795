"""The stages in order: checkpoint → ONNX → simplified → proven → written with its contract.

The file appears under its name only after the last stage; whatever fails before leaves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from emotion_export.convert import DEFAULT_OPSET, convert, opset_of
from emotion_export.errors import ExportError, ParityError
from emotion_export.golden import make_golden
from emotion_export.parity import BATCH_SIZES, OPTIMISATIONS, Comparison, Gate, Reference, require
from emotion_export.parity_faces import ParityFaces
from emotion_export.simplify import count_operators, simplify
from emotion_runtime import __version__
from emotion_runtime.atomic import replacing
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.contract import Contract
from emotion_runtime.digest import sha256_of
from emotion_train.checkpoint import Checkpoint

COMPARISONS_PER_GRAPH = len(BATCH_SIZES) * len(OPTIMISATIONS)


@dataclass(frozen=True)
class Exported:
    """A file that was proven and written.

    Attributes:
        path: The model file.
        report_path: The figures of its proof, JSON.
        comparisons: The same, in memory.
    """

    path: Path
    report_path: Path
    comparisons: tuple[Comparison, ...]

    @property
    def max_logit_difference(self) -> float:
        """Largest absolute difference of a logit from PyTorch's, over all comparisons."""
        return max(one.max_logit_difference for one in self.comparisons)


def export_checkpoint(
    checkpoint: Checkpoint,
    path: Path,
    faces: ParityFaces,
    *,
    opset: int = DEFAULT_OPSET,
    simplified: bool = True,
    gate: Gate = Gate(),  # noqa: B008  frozen
    say: Callable[[str], None] = lambda _: None,
    on_step: Callable[[], None] = lambda: None,
) -> Exported:
    """Export a checkpoint to `path`, or raise and leave nothing.

    Args:
        checkpoint: What `emotion-train` wrote.
        path: The file to write, ``*.onnx``; its proof goes beside it, ``*.parity.json``.
        faces: What the file is proven on.
        opset: ONNX's operator set.
        simplified: Let onnxsim fold constants.
        gate: What the file must keep to.
        say: Takes a line for each stage.
        on_step: Called after each comparison, for a progress bar.

    Raises:
        ConversionError: The network or the opset is one that cannot be exported.
        ParityError: The file does not answer as PyTorch does.
        OutputError: The files cannot be written.
    """
    network = checkpoint.build()
    reference = Reference(network, checkpoint.temperature, faces.pixels)
    graph = convert(network, checkpoint.temperature, opset=opset)
    say(f"converted: {_summary(graph)}")
    stages = {"converted": graph}
    if simplified:
        graph = simplify(graph)
        say(f"simplified: {_summary(graph)}")
        stages["simplified"] = graph

    comparisons: list[Comparison] = []
    for stage, model in stages.items():
        comparisons += reference.compare_graph(model.SerializeToString(), stage, on_step)
        require(comparisons, gate)

    contract = Contract(
        labels=checkpoint.labels,
        network=checkpoint.network,
        golden=make_golden(network, checkpoint.average_faces[:, 0].numpy()),
        temperature=checkpoint.temperature,
        min_confidence=checkpoint.min_confidence,
        metrics=checkpoint.metrics,
        parity=_worst(comparisons, faces),
        training=checkpoint.training,
        tool_versions=_tool_versions(),
    )
    onnx.helper.set_model_props(graph, contract.to_metadata())
    graph.producer_name, graph.producer_version = "emotion-edge", __version__

    report_path = path.with_suffix(".parity.json")
    with replacing(path) as temporary, replacing(report_path) as temporary_report:
        onnx.save(graph, temporary)
        comparisons.append(_prove_file(temporary, reference))
        on_step()
        require(comparisons, gate)
        report = {
            "model": path.name,
            "sha256": sha256_of(temporary),
            "bytes": temporary.stat().st_size,
            "network": checkpoint.network,
            "labels": list(checkpoint.labels),
            "precision": contract.precision,
            "opset": opset_of(graph),
            "ir_version": graph.ir_version,
            "operators": {stage: count_operators(model) for stage, model in stages.items()},
            "faces": faces.describe(),
            "gate": asdict(gate),
            "comparisons": [one.to_dict() for one in comparisons],
            "tool_versions": contract.tool_versions,
            "passed": True,
        }
        temporary_report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return Exported(path, report_path, tuple(comparisons))


def _prove_file(path: Path, reference: Reference) -> Comparison:
    """Open the finished file as a device does: contract, golden inputs, every face."""
    classifier = EmotionClassifier(path)
    test = classifier.self_test()
    if not test.passed:
        raise ParityError(
            f"the file fails its own golden inputs: largest logit difference "
            f"{test.max_difference:.2e} (allowed {test.tolerance:.0e}), "
            f"{test.label_flips} of {test.inputs} labels differ."
        )
    return reference.compare(classifier.infer, "file", "full", max(BATCH_SIZES))


def _worst(comparisons: list[Comparison], faces: ParityFaces) -> dict[str, Any]:
    """Sum the proof up for the contract."""
    return {
        "faces": len(faces.pixels),
        "real_faces": faces.real,
        "max_logit_difference": float(f"{max(c.max_logit_difference for c in comparisons):.3g}"),
        "max_probability_difference": float(
            f"{max(c.max_probability_difference for c in comparisons):.3g}"
        ),
        "label_agreement": min(c.label_agreement for c in comparisons),
    }


def _summary(model: onnx.ModelProto) -> str:
    operators = count_operators(model)
    return (
        f"{sum(operators.values())} operators, {model.ByteSize() / 1e6:.2f} MB, "
        f"opset {opset_of(model)}, IR version {model.ir_version}"
    )


def _tool_versions() -> dict[str, str]:
    names = ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy")
    return {"emotion-edge": __version__, **{name: version(name) for name in names}}


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a target before minutes are spent on it.

    Raises:
        ExportError: The name is no ``*.onnx``, its folder is missing, or something is there.
    """
    if path.suffix != ".onnx":
        raise ExportError(f"{path}: a model file's name ends in .onnx.")
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent}: no such folder.")
    if path.is_dir():
        raise ExportError(f"{path}: a folder is in the way.")
    for existing in (path, path.with_suffix(".parity.json")):
        if existing.exists() and not overwrite:
            raise ExportError(f"{existing}: exists already; --overwrite replaces it.")
