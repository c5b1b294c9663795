"""The stages in order: checkpoint → ONNX → simplified → proven → written with its contract.

The file appears under its name only after the last stage; whatever fails before leaves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from emotion_export.errors import ExportError, ParityDataError
from emotion_export.export_report import write_export_report
from emotion_export.graph.convert import DEFAULT_OPSET, convert, opset_of
from emotion_export.graph.half import to_half
from emotion_export.graph.ort_format import OPERATORS, write_ort
from emotion_export.graph.simplify import count_operators, is_same_graph, simplify
from emotion_export.int8.labelled_faces import LabelledFaces, known_accuracy
from emotion_export.int8.precision import (
    Loss,
    best_int8,
    loosened,
    speed_ratio,
)
from emotion_export.int8.quantise import METHODS
from emotion_export.label_subset.figures import FileFigures, describe_other
from emotion_export.label_subset.pictures import CONFUSION, CURVES, draw_other
from emotion_export.label_subset.subset import keep_all, keep_labels
from emotion_export.label_subset.threshold import DEFAULT_COVERAGE, Thresholds, choose_thresholds
from emotion_export.parity.comparison import (
    BATCH_SIZES,
    GATES,
    OPTIMISATIONS,
    Comparison,
    Gate,
    Infer,
    Reference,
    answers_of,
    require,
    session_of,
)
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.file import prove_file, require_same_reader
from emotion_export.parity.golden import make_golden
from emotion_export.parity.paired_comparison import TOO_FEW, fewest_agreeing
from emotion_runtime import __version__
from emotion_runtime.atomic import name_in_errors, write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_runtime.model.contract import Contract, InputSpec
from emotion_runtime.prediction import OTHER
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.checkpoints.transfer import weights_digest
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.evaluation import measure

COMPARISONS_PER_GRAPH = len(BATCH_SIZES) * len(OPTIMISATIONS)
# Steps of the progress bar, in the time of a comparison.
CONVERSION_STEPS = 24
QUANTISATION_STEPS = 8  # of each way to choose ranges
FILE_STEPS = 4
WEIGHTS = "weights_sha256"  # names the checkpoint in the parity metadata of a model file


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


@dataclass(frozen=True)
class Plan:
    """What kind of file is wanted, and what it must keep to.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        opset: ONNX's operator set.
        simplified: Let onnxsim fold constants.
        label_agreement: Smallest part of the labels that are as PyTorch's; None for the
            precision's own gate.
        loss: What int8 may lose on held-out faces.
        report: Write ``*.export.md`` with a picture too.
        ort: Write ``*.ort`` too, and the list of the operators it needs.
        labels: The labels that the file keeps, in the order of its columns; the other classes of
            the network become the output `other`. Empty for every class and no such output.
        other_coverage: Share of the held-out faces of these labels that `other` must let through.
        other_threshold: The threshold of `other`, where it is not to be chosen.
    """

    precision: str = "fp32"
    opset: int = DEFAULT_OPSET
    simplified: bool = True
    label_agreement: float | None = None
    loss: Loss = Loss()  # noqa: RUF009  frozen
    report: bool = True
    ort: bool = False
    labels: tuple[str, ...] = ()
    other_coverage: float = DEFAULT_COVERAGE
    other_threshold: float | None = None

    @property
    def gate(self) -> Gate:
        """What the finished graph must keep to."""
        gate = GATES[self.precision]
        if self.label_agreement is None:
            return gate
        return replace(gate, label_agreement=self.label_agreement)

    @property
    def steps(self) -> int:
        """Return how often `export_checkpoint` calls `on_step`, for the total of a progress bar."""
        graphs = 1 + self.simplified + (self.precision != "fp32")
        steps = CONVERSION_STEPS + COMPARISONS_PER_GRAPH * graphs + FILE_STEPS
        if self.precision == "int8":
            steps += QUANTISATION_STEPS * len(METHODS)
        return steps + (FILE_STEPS if self.ort else 0)


def export_checkpoint(
    checkpoint: Checkpoint,
    path: Path,
    faces: ParityFaces,
    plan: Plan = Plan(),
    labelled: LabelledFaces | None = None,
    *,
    network: nn.Module | None = None,
    test: Faces | None = None,
    votes: Votes | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_step: Callable[[], None] = lambda: None,
) -> Exported:
    """Export a checkpoint to `path`, or raise and leave nothing.

    Args:
        checkpoint: What `emotion-train` wrote.
        path: The file to write, ``*.onnx``; its proof goes beside it, ``*.parity.json``.
        faces: What the file is proven on.
        plan: What kind of file.
        labelled: For int8: what to calibrate and to judge it on. With `plan.labels`, what the
            threshold of `other` is chosen on.
        network: The network itself, where it is none of the registered ones.
        test: For a release of fewer bits: what the file itself is measured on, as the network was.
        votes: The annotators' votes: with `plan.labels`, a strict majority of them says what a
            face shows. None for the labels of the data.
        say: Takes a line for each stage.
        on_step: Called `Plan.steps` times, for a progress bar.

    Raises:
        ExportError: The network does not know the labels, or the held-out faces do not show them.
        ConversionError: The network or the opset is one that cannot be exported.
        ParityError: The file does not answer as PyTorch does, or loses too much.
        OutputError: The files cannot be written.
    """
    require_same_reader(checkpoint)
    network = checkpoint.build() if network is None else network.eval()
    subset = (
        keep_labels(checkpoint.labels, plan.labels) if plan.labels else keep_all(checkpoint.labels)
    )
    thresholds: Thresholds | None = None
    threshold, judged_on = plan.other_threshold, labelled
    if subset.dropped and threshold is None:
        thresholds = choose_thresholds(
            network, checkpoint, subset, labelled, votes, coverage=plan.other_coverage, say=say
        )
        threshold, judged_on = thresholds.other, thresholds.judged_on
    reference = Reference(network, checkpoint.temperature, faces.pixels, subset, threshold)
    names = (*subset.labels, *([OTHER] if subset.dropped else []))
    _repeat_warnings(checkpoint, say)
    _warn_of_gaps(reference, names, labelled, say)
    gate = plan.gate
    graph = convert(
        network, checkpoint.temperature, size=checkpoint.size, opset=plan.opset, subset=subset
    )
    say(f"converted: {_summary(graph)}")
    _repeat(on_step, CONVERSION_STEPS)
    stages = {"converted": graph}
    if plan.simplified:
        stages["simplified"] = graph = simplify(graph)
        unchanged = is_same_graph(stages["converted"], graph)
        say("simplified: nothing to fold" if unchanged else f"simplified: {_summary(graph)}")

    comparisons: list[Comparison] = []
    for stage, model in stages.items():
        if plan.simplified and unchanged and stage == "converted":
            _repeat(on_step, COMPARISONS_PER_GRAPH)
            continue  # the graph that is written is compared
        comparisons += reference.compare_graph(model.SerializeToString(), stage, on_step)
        require(comparisons, GATES["fp32"])

    smaller: dict[str, Any] = {}
    judged = comparisons
    in_float = graph
    if plan.precision != "fp32":
        known = None if subset.dropped else known_accuracy(checkpoint)
        graph, smaller = _with_fewer_bits(
            graph, names, known, reference, plan, judged_on, say, on_step
        )
        say(f"{plan.precision}: {_summary(graph)}")
        stages[plan.precision] = graph
        judged = reference.compare_graph(graph.SerializeToString(), plan.precision, on_step)
        comparisons += judged
        require(judged, gate)
        ratio = speed_ratio(in_float, graph, checkpoint.size)
        smaller["times_as_fast_as_fp32"] = round(ratio, 2)
        word = "faster than" if ratio > 1.05 else "no faster than"
        say(f"{plan.precision}: {word} fp32 on this machine ({ratio:.2f} times as fast, batch 1)")

    infer = session_of(graph.SerializeToString(), "full")
    golden = make_golden(
        network,
        in_float,
        graph,
        checkpoint.average_faces[:, 0].numpy(),
        checkpoint.size,
        subset,
        checkpoint.temperature,
        plan.precision,
        flips_allowed=plan.label_agreement is not None,
    )
    # By this emotion-verify finds the checkpoint; a network of one's own has none.
    origin = {WEIGHTS: weights_digest(checkpoint.weights)} if checkpoint.weights else {}
    metrics = {} if subset.dropped else _metrics(checkpoint, infer, plan, labelled, test)
    measured = FileFigures(infer, network, checkpoint, subset, threshold or 0.0, votes)
    if thresholds is not None:
        metrics = _metrics_with_other(measured, thresholds, test)
        for line in describe_other(metrics["held-out"]):
            say(line)
    contract = Contract(
        labels=subset.labels,
        network=checkpoint.network,
        golden=golden,
        input=InputSpec(size=checkpoint.size),
        precision=plan.precision,
        temperature=checkpoint.temperature,
        min_confidence=checkpoint.min_confidence
        if thresholds is None
        else thresholds.min_confidence,
        other_threshold=threshold,
        other_classes=subset.other_classes,
        metrics=metrics,
        parity=_worst(judged, faces) | origin | ({plan.precision: smaller} if smaller else {}),
        training=checkpoint.training,
        tool_versions=_tool_versions(),
        graph_sha256=sha256(graph.graph.SerializeToString()).hexdigest(),
    )
    onnx.helper.set_model_props(graph, contract.to_metadata())
    graph.producer_name, graph.producer_version = "emotion-edge", __version__

    report_path = path.with_suffix(".parity.json")
    with write_atomically(path) as temporary, write_atomically(report_path) as temporary_report:
        with name_in_errors(path):
            onnx.save(graph, temporary)
        comparisons += prove_file(temporary, reference, faces, gate)
        _repeat(on_step, FILE_STEPS)
        report = {
            "model": path.name,
            "sha256": compute_sha256(temporary),
            "bytes": temporary.stat().st_size,
            "network": checkpoint.network,
            "labels": list(subset.labels),
            **_other_record(contract),
            **origin,
            "precision": contract.precision,
            "opset": opset_of(graph),
            "ir_version": graph.ir_version,
            "operators": {stage: count_operators(model) for stage, model in stages.items()},
            "faces": faces.describe(),
            "gate": asdict(gate)
            | {"label_agreement_on_these_faces": _least_agreement(gate, comparisons)},
            plan.precision: smaller,
            "comparisons": [one.to_dict() for one in comparisons],
            "tool_versions": contract.tool_versions,
            "passed": True,
        }
        if not smaller:
            del report[plan.precision]
        temporary_report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if plan.report:
        found = answers_of(infer, faces.pixels)
        write_export_report(path, report, reference, found, faces.paths)
        if thresholds is not None:
            draw_other(path, measured, thresholds)
    if plan.ort:
        target, proof = write_ort(path, reference, faces, gate)
        _repeat(on_step, FILE_STEPS)
        say(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, verified as well")
        comparisons += proof
    return Exported(path, report_path, tuple(comparisons))


def _repeat(on_step: Callable[[], None], times: int) -> None:
    for _ in range(times):
        on_step()


def _least_agreement(gate: Gate, comparisons: list[Comparison]) -> float:
    """Return the part of the labels that suffices on the faces that the gate counts."""
    faces = max(gate.counted(one)[0] for one in comparisons)
    return fewest_agreeing(faces, gate.label_agreement) / faces


def _repeat_warnings(checkpoint: Checkpoint, say: Callable[[str], None]) -> None:
    """Repeat what the training warned of: a network may agree with itself and still be useless."""
    for split in ("test", "hold-out", "validation"):
        figures = checkpoint.metrics.get(split)
        if isinstance(figures, dict) and "never_predicted" in figures:
            from emotion_train.report.tables import prediction_warnings  # imports matplotlib

            for text in prediction_warnings(figures, split):
                say(f"warning: {text}; train it for longer, or with --start-from edge")


def _warn_of_gaps(
    reference: Reference,
    labels: tuple[str, ...],
    labelled: LabelledFaces | None,
    say: Callable[[str], None],
) -> None:
    """Tell what the comparisons will not cover, though their figures look as if they did."""
    if missing := reference.missing(labels):
        say(
            f"warning: the network gives none of the {len(reference.faces):,} faces the label "
            f"{' or '.join(missing)}: the parity check does not cover "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
    different = len(np.unique(reference.faces, axis=0))
    if 2 * different <= len(reference.faces):
        say(f"warning: {different:,} of the {len(reference.faces):,} faces are different")
    if labelled is not None and labelled.note:
        say(f"warning: {labelled.note}")


def _with_fewer_bits(
    graph: onnx.ModelProto,
    labels: tuple[str, ...],
    accuracy: float | None,
    reference: Reference,
    plan: Plan,
    labelled: LabelledFaces | None,
    say: Callable[[str], None],
    on_step: Callable[[], None],
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Turn the proven graph to fp16 or int8; returns it with the figures of what that costs.

    Args:
        graph: The graph in float.
        labels: Of the file, with ``other`` where it has this output.
        accuracy: The network's on held-out faces when it was trained; None where it is not known.
        reference: What the file must compute.
        plan: The precision and its gates.
        labelled: Calibration faces, and held-out faces with the indices of `labels`.
        say: Takes a line for each stage.
        on_step: Called for each step of the quantisation.
    """
    wider = loosened(plan.gate.label_agreement, GATES[plan.precision].label_agreement, plan.loss)
    record: dict[str, Any] = {"loosened": wider} if wider else {}
    if plan.precision == "fp16":
        return to_half(graph), record
    if labelled is None:
        raise ParityDataError("int8 needs labelled faces to take its ranges from.")
    required = plan.gate.label_agreement
    best = best_int8(
        graph,
        labelled,
        reference,
        required,
        plan.loss,
        accuracy,
        labels,
        say,
        lambda: _repeat(on_step, QUANTISATION_STEPS),
    )
    say(f"int8: {best.method} ranges kept")
    if best.accuracy.decision == TOO_FEW:
        more = best.accuracy.more_faces
        needed = "more than a million" if more is None else f"about {more:,} more"
        say(
            f"int8: not shown to be worse than fp32, but the {best.faces:,} held-out faces are too "
            f"few to tell a loss of accuracy of {plan.loss.accuracy:.2%} from none; {needed} needed"
        )
    gates = [one.text for one in best.gates(required, plan.loss, labels)]
    return best.graph, {**best.to_dict(labels), "gates": gates, **record}


def _metrics(
    checkpoint: Checkpoint,
    infer: Infer,
    plan: Plan,
    labelled: LabelledFaces | None,
    test: Faces | None,
) -> dict[str, Any]:
    """Give the figures of this very file: the network's own, or measured where bits are fewer."""
    if plan.precision == "fp32":
        if test is None or "test" in checkpoint.metrics:
            return checkpoint.metrics
        logits = answers_of(infer, test.pixels).logits
        figures = measure(logits, test.labels, checkpoint.temperature)
        return {**checkpoint.metrics, "test": figures.to_dict(checkpoint.labels)}
    held_out = None if labelled is None else labelled.held_out
    measured: dict[str, Any] = {"float_network": checkpoint.metrics}
    for name, faces in (("test", test), ("held-out", held_out)):
        if faces is not None:
            logits = answers_of(infer, faces.pixels).logits
            figures = measure(logits, faces.labels, checkpoint.temperature)
            measured[name] = figures.to_dict(checkpoint.labels)
    return measured


def _known_accuracy(checkpoint: Checkpoint) -> float | None:
    """Return the accuracy on held-out faces that the training measured; None where it did not."""
    known = checkpoint.metrics.get("hold-out") or checkpoint.metrics.get("validation")
    return None if known is None else float(known["accuracy"])


def _metrics_with_other(
    measured: FileFigures, thresholds: Thresholds, test: Faces | None
) -> dict[str, Any]:
    """Give the figures of a file with the output `other`, and those of the whole network."""
    held_out = measured.figures(thresholds.held_out)
    held_out["other"]["out_of_fold"] = thresholds.out_of_fold
    metrics = {"all_classes": measured.checkpoint.metrics, "held-out": held_out}
    if test is not None:
        metrics["test"] = measured.figures(test)
    return metrics


def _other_record(contract: Contract) -> dict[str, Any]:
    """Return what the report of the parity check tells of the output `other`, if there is one."""
    if contract.other_threshold is None:
        return {}
    figures = {
        split: {name: one for name, one in values.items() if name.startswith(("other", "every"))}
        for split, values in contract.metrics.items()
        if split in ("held-out", "test")
    }
    record = {
        "threshold": contract.other_threshold,
        "classes": list(contract.other_classes),
        "metrics": figures,
    }
    return {"other": record}


def _worst(comparisons: list[Comparison], faces: ParityFaces) -> dict[str, Any]:
    """Sum the proof up for the contract."""
    others = [
        one.max_other_difference for one in comparisons if one.max_other_difference is not None
    ]
    return {
        "faces": len(faces.pixels),
        "real_faces": faces.real,
        "max_logit_difference": float(f"{max(c.max_logit_difference for c in comparisons):.3g}"),
        "max_probability_difference": float(
            f"{max(c.max_probability_difference for c in comparisons):.3g}"
        ),
        "label_agreement": min(c.label_agreement for c in comparisons),
        **({} if not others else {"max_other_difference": float(f"{max(others):.3g}")}),
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


def check_target(path: Path, *, overwrite: bool, ort: bool = False, other: bool = False) -> None:
    """Refuse a target before minutes are spent on it.

    Args:
        path: The model file; its name with other suffixes is that of the files beside it.
        overwrite: Replace what is there.
        ort: ``*.ort`` and its list of operators will be written too.
        other: The pictures of the output `other` will be written too.

    Raises:
        ExportError: The name is no ``*.onnx``, its folder is missing, or something is there.
    """
    if path.suffix != ".onnx":
        raise ExportError(f"{path}: a model file's name ends in .onnx.")
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent}: no such folder.")
    if path.is_dir():
        raise ExportError(f"{path}: a folder is in the way.")
    suffixes = [".onnx", ".parity.json", ".export.md", ".export.png"]
    suffixes += [CURVES, CONFUSION] if other else []
    suffixes += [".ort", OPERATORS] if ort else []
    for existing in map(path.with_suffix, suffixes):
        if existing.exists() and not overwrite:
            raise ExportError(f"{existing}: exists already; --overwrite replaces it.")
