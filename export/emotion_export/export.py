"""Export a checkpoint: convert, simplify, reduce the precision, verify, write.

The model file gets its name only after the last check. If a stage fails, no file is left behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from emotion_export import defaults
from emotion_export.errors import ExportError, ParityDataError
from emotion_export.export_report import write_export_report
from emotion_export.file_metrics import measure_file, measure_file_with_other
from emotion_export.graph.convert import convert, get_opset
from emotion_export.graph.half import convert_to_half
from emotion_export.graph.ort_format import OPERATORS_SUFFIX, write_ort
from emotion_export.graph.simplify import count_operators, is_same_graph, simplify
from emotion_export.int8.labelled_faces import LabelledFaces, get_recorded_accuracy
from emotion_export.int8.precision import (
    AllowedLoss,
    find_best_int8,
    find_relaxed_limits,
    measure_speedup,
)
from emotion_export.int8.quantise import METHODS
from emotion_export.label_subset.figures import OtherEvaluator, describe_other
from emotion_export.label_subset.pictures import CONFUSION_SUFFIX, CURVES_SUFFIX, draw_other
from emotion_export.label_subset.subset import LabelSubset, keep_all, keep_labels
from emotion_export.label_subset.threshold import Thresholds, choose_thresholds
from emotion_export.parity.comparison import (
    BATCH_SIZES,
    GATES,
    OPTIMISATIONS,
    Comparison,
    Gate,
    Infer,
    Reference,
    open_graph,
    require_parity,
    run_in_batches,
)
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.file import require_same_reader, verify_file
from emotion_export.parity.golden import make_golden
from emotion_export.parity.paired_comparison import TOO_FEW
from emotion_export.parity_report import (
    WEIGHTS_KEY,
    collect_tool_versions,
    make_parity_report,
    summarise_parity,
)
from emotion_runtime import __version__
from emotion_runtime.atomic import name_in_errors, write_atomically
from emotion_runtime.model.contract import Contract, InputSpec
from emotion_runtime.prediction import OTHER
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.checkpoints.transfer import hash_weights
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes

COMPARISONS_PER_GRAPH = len(BATCH_SIZES) * len(OPTIMISATIONS)
# Steps of the progress bar. One step takes about as long as one comparison.
CONVERSION_STEPS = 24
QUANTISATION_STEPS = 8  # for each method in METHODS
FILE_STEPS = 4
MIN_SPEEDUP = 1.05  # a smaller ratio of two latencies is not called faster

Log = Callable[[str], None]
OnStep = Callable[[], None]


@dataclass(frozen=True)
class ExportResult:
    """A model file that passed the parity check.

    Attributes:
        path: The model file.
        report_path: The parity report, JSON.
        comparisons: The comparisons in that report.
    """

    path: Path
    report_path: Path
    comparisons: tuple[Comparison, ...]

    @property
    def max_logit_difference(self) -> float:
        """Largest absolute difference between a logit of the file and PyTorch's."""
        return max(one.max_logit_difference for one in self.comparisons)


@dataclass(frozen=True)
class Plan:
    """The kind of file to write and the limits that it must keep.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        opset: ONNX operator set.
        simplified: Let onnxsim fold constants.
        label_agreement: Smallest share of labels that must agree with PyTorch; None for the
            default of the precision.
        loss: Largest losses of int8 on held-out faces.
        report: Also write ``*.export.md`` and its picture.
        ort: Also write ``*.ort`` and the list of the operators that it needs.
        labels: The labels that the file keeps, in the order of its columns. The other classes of
            the network become the output `other`. Empty to keep all classes, without `other`.
        other_coverage: Share of the held-out faces of these labels that must not become ``other``.
        other_threshold: The threshold of `other`; None to choose it on held-out faces.
    """

    precision: str = "fp32"
    opset: int = defaults.OPSET
    simplified: bool = True
    label_agreement: float | None = None
    loss: AllowedLoss = AllowedLoss()  # noqa: RUF009  frozen
    report: bool = True
    ort: bool = False
    labels: tuple[str, ...] = ()
    other_coverage: float = defaults.OTHER_COVERAGE
    other_threshold: float | None = None

    @property
    def gate(self) -> Gate:
        """Limits of the parity check for the finished graph."""
        gate = GATES[self.precision]
        if self.label_agreement is None:
            return gate
        return replace(gate, label_agreement=self.label_agreement)

    @property
    def steps(self) -> int:
        """Number of steps of an export, the total of a progress bar."""
        graphs = 1 + self.simplified + (self.precision != "fp32")
        steps = CONVERSION_STEPS + COMPARISONS_PER_GRAPH * graphs + FILE_STEPS
        if self.precision == "int8":
            steps += QUANTISATION_STEPS * len(METHODS)
        return steps + (FILE_STEPS if self.ort else 0)


@dataclass(eq=False, kw_only=True)
class _Run:
    """The record of one export. Each stage reads from it and adds its own results.

    Attributes:
        checkpoint: The checkpoint.
        network: Its network.
        plan: The kind of file.
        faces: Faces of the parity check.
        subset: The labels that the file keeps.
        thresholds: Thresholds chosen on held-out faces; None without the output `other`, or if
            the plan names its threshold.
        other_threshold: The threshold of `other`; None without this output.
        labelled: Faces to calibrate and evaluate int8 on.
        reference: PyTorch's outputs for `faces`.
        log: Called with each message.
        on_step: Called for each step of the progress bar.
        graphs: The graph after each stage, by the name of the stage.
        comparisons: All comparisons with PyTorch so far.
        precision_figures: What fp16 or int8 costs, JSON values; empty for fp32.
    """

    checkpoint: Checkpoint
    network: nn.Module
    plan: Plan
    faces: ParityFaces
    subset: LabelSubset
    thresholds: Thresholds | None
    other_threshold: float | None
    labelled: LabelledFaces | None
    reference: Reference
    log: Log
    on_step: OnStep
    graphs: dict[str, onnx.ModelProto] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    precision_figures: dict[str, Any] = field(default_factory=dict)

    @property
    def graph(self) -> onnx.ModelProto:
        """The graph of the latest stage."""
        return next(reversed(self.graphs.values()))

    @property
    def float_graph(self) -> onnx.ModelProto:
        """The latest graph in float32."""
        return self.graphs["simplified" if self.plan.simplified else "converted"]

    @property
    def output_labels(self) -> tuple[str, ...]:
        """Labels that the file can give, with ``other`` last if it has this output."""
        return (*self.subset.labels, *([OTHER] if self.subset.dropped else []))

    def advance(self, steps: int) -> None:
        """Advance the progress bar."""
        for _ in range(steps):
            self.on_step()


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
    log: Log = lambda _: None,
    on_step: OnStep = lambda: None,
) -> ExportResult:
    """Export a checkpoint to `path`, or raise and leave no file.

    Args:
        checkpoint: A checkpoint of `emotion-train`.
        path: The file to write, ``*.onnx``. The parity report ``*.parity.json`` is written too.
        faces: Faces of the parity check.
        plan: The kind of file.
        labelled: For int8: the faces to calibrate and evaluate on. With `plan.labels`: the faces
            to choose the threshold of `other` on.
        network: The network, if it is not a registered one.
        test: Test faces to measure the file on, for the card of a release.
        votes: The annotators' votes. With `plan.labels`, their strict majority is the true class
            of a face. None to use the labels of the data.
        log: Called with a message for each stage.
        on_step: Called `Plan.steps` times, for a progress bar.

    Raises:
        ExportError: The network does not know the labels, or no held-out face shows them.
        ConversionError: The network cannot be exported, or not in this opset.
        ParityError: The file and PyTorch differ by more than allowed, or the file loses too much.
        OutputError: The files cannot be written.
    """
    run = _prepare(checkpoint, faces, plan, labelled, network, votes, log, on_step)
    _warn_about_training(run)
    _warn_about_gaps(run)
    _convert(run)
    _compare_float_graphs(run)
    if plan.precision != "fp32":
        _reduce_precision(run)

    infer = open_graph(run.graph.SerializeToString(), "full")
    evaluator = None
    if run.thresholds is not None:
        evaluator = OtherEvaluator(
            infer, run.network, checkpoint, run.subset, run.thresholds.other, votes
        )
    contract = _make_contract(run, _measure(run, infer, evaluator, test))
    onnx.helper.set_model_props(run.graph, contract.to_metadata())
    run.graph.producer_name, run.graph.producer_version = "emotion-edge", __version__

    report_path = path.with_suffix(".parity.json")
    report = _write_verified(run, contract, path, report_path)
    if plan.report:
        outputs = run_in_batches(infer, faces.pixels)
        write_export_report(path, report, run.reference, outputs, faces.paths)
        if run.thresholds is not None and evaluator is not None:
            draw_other(path, evaluator, run.thresholds)
    if plan.ort:
        _write_ort(run, path)
    return ExportResult(path, report_path, tuple(run.comparisons))


def _prepare(
    checkpoint: Checkpoint,
    faces: ParityFaces,
    plan: Plan,
    labelled: LabelledFaces | None,
    network: nn.Module | None,
    votes: Votes | None,
    log: Log,
    on_step: OnStep,
) -> _Run:
    """Build the network, choose the thresholds of `other`, and compute PyTorch's outputs."""
    require_same_reader(checkpoint)
    network = checkpoint.build() if network is None else network.eval()
    subset = (
        keep_labels(checkpoint.labels, plan.labels) if plan.labels else keep_all(checkpoint.labels)
    )
    thresholds, other_threshold = None, plan.other_threshold
    if subset.dropped and other_threshold is None:
        thresholds = choose_thresholds(
            network, checkpoint, subset, labelled, votes, coverage=plan.other_coverage, log=log
        )
        other_threshold, labelled = thresholds.other, thresholds.labelled
    reference = Reference(network, checkpoint.temperature, faces.pixels, subset, other_threshold)
    return _Run(
        checkpoint=checkpoint,
        network=network,
        plan=plan,
        faces=faces,
        subset=subset,
        thresholds=thresholds,
        other_threshold=other_threshold,
        labelled=labelled,
        reference=reference,
        log=log,
        on_step=on_step,
    )


def _warn_about_training(run: _Run) -> None:
    """Repeat the warnings of the training: parity does not make a useless network useful."""
    for split in ("test", "hold-out", "validation"):
        figures = run.checkpoint.metrics.get(split)
        if isinstance(figures, dict) and "never_predicted" in figures:
            from emotion_train.report.tables import list_prediction_warnings  # imports matplotlib

            for text in list_prediction_warnings(figures, split):
                run.log(f"warning: {text}; train it for longer, or with --start-from edge")


def _warn_about_gaps(run: _Run) -> None:
    """Warn about what the comparisons do not cover although their figures look complete."""
    faces = run.reference.faces
    if missing := run.reference.find_missing_labels(run.output_labels):
        run.log(
            f"warning: the network gives none of the {len(faces):,} faces the label "
            f"{' or '.join(missing)}: the parity check does not cover "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
    different = len(np.unique(faces, axis=0))
    if 2 * different <= len(faces):
        run.log(f"warning: {different:,} of the {len(faces):,} faces are different")
    if run.labelled is not None and run.labelled.note:
        run.log(f"warning: {run.labelled.note}")


def _convert(run: _Run) -> None:
    """Convert the network to ONNX, and simplify the graph if the plan includes that."""
    checkpoint, plan = run.checkpoint, run.plan
    graph = convert(
        run.network,
        checkpoint.temperature,
        size=checkpoint.size,
        opset=plan.opset,
        subset=run.subset,
    )
    run.graphs["converted"] = graph
    run.log(f"converted: {_describe_graph(graph)}")
    run.advance(CONVERSION_STEPS)
    if plan.simplified:
        run.graphs["simplified"] = simplified = simplify(graph)
        unchanged = is_same_graph(graph, simplified)
        result = "nothing to fold" if unchanged else _describe_graph(simplified)
        run.log(f"simplified: {result}")


def _compare_float_graphs(run: _Run) -> None:
    """Compare the float graphs with PyTorch; a graph that onnxsim did not change only once."""
    stages = list(run.graphs)
    if len(stages) == 2 and is_same_graph(*run.graphs.values()):
        stages = stages[1:]
        run.advance(COMPARISONS_PER_GRAPH)
    for stage in stages:
        data = run.graphs[stage].SerializeToString()
        run.comparisons += run.reference.compare_graph(data, stage, run.on_step)
        require_parity(run.comparisons, GATES["fp32"])


def _reduce_precision(run: _Run) -> None:
    """Convert the graph to fp16 or int8, compare it with PyTorch, and measure its speed."""
    precision = run.plan.precision
    if precision == "fp16":
        graph = convert_to_half(run.float_graph)
        figures: dict[str, Any] = {}
    else:
        graph, figures = _quantise(run)
    relaxed = find_relaxed_limits(run.plan.gate, GATES[precision], run.plan.loss)
    if relaxed:
        figures["loosened"] = relaxed
    run.log(f"{precision}: {_describe_graph(graph)}")
    run.graphs[precision] = graph
    comparisons = run.reference.compare_graph(graph.SerializeToString(), precision, run.on_step)
    run.comparisons += comparisons
    require_parity(comparisons, run.plan.gate)
    speedup = measure_speedup(run.float_graph, graph, run.checkpoint.size)
    figures["times_as_fast_as_fp32"] = round(speedup, 2)
    word = "faster than" if speedup > MIN_SPEEDUP else "no faster than"
    run.log(f"{precision}: {word} fp32 on this machine ({speedup:.2f} times as fast, batch 1)")
    run.precision_figures = figures


def _quantise(run: _Run) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the best int8 graph, and what it costs as JSON values."""
    if run.labelled is None:
        raise ParityDataError("int8 needs labelled faces to take its ranges from.")
    plan, labels = run.plan, run.output_labels
    best = find_best_int8(
        run.float_graph,
        run.labelled,
        run.reference,
        plan.gate.label_agreement,
        plan.loss,
        None if run.subset.dropped else get_recorded_accuracy(run.checkpoint),
        labels,
        run.log,
        lambda: run.advance(QUANTISATION_STEPS),
    )
    run.log(f"int8: {best.method} ranges kept")
    if best.accuracy.decision == TOO_FEW:
        more = best.accuracy.more_faces
        needed = "more than a million" if more is None else f"about {more:,} more"
        run.log(
            f"int8: not shown to be worse than fp32, but the {best.faces:,} held-out faces are too "
            f"few to tell a loss of accuracy of {plan.loss.accuracy:.2%} from none; {needed} needed"
        )
    requirements = best.list_requirements(plan.gate.label_agreement, plan.loss, labels)
    return best.graph, {**best.to_dict(labels), "gates": [one.text for one in requirements]}


def _measure(
    run: _Run,
    infer: Infer,
    evaluator: OtherEvaluator | None,
    test: Faces | None,
) -> dict[str, Any]:
    """Return the metrics for the contract, and log those of the output `other`."""
    if evaluator is not None and run.thresholds is not None:
        metrics = measure_file_with_other(evaluator, run.thresholds, test)
        for line in describe_other(metrics["held-out"]):
            run.log(line)
        return metrics
    if run.subset.dropped:
        return {}
    held_out = None if run.labelled is None else run.labelled.held_out
    return measure_file(run.checkpoint, infer, run.plan.precision, held_out, test)


def _make_contract(run: _Run, metrics: dict[str, Any]) -> Contract:
    """Return the metadata of the model file, golden inputs among them."""
    checkpoint, plan, subset = run.checkpoint, run.plan, run.subset
    golden = make_golden(
        run.network,
        run.float_graph,
        run.graph,
        checkpoint.average_faces[:, 0].numpy(),
        checkpoint.size,
        subset,
        checkpoint.temperature,
        plan.precision,
        flips_allowed=plan.label_agreement is not None,
    )
    parity = summarise_parity(_select_final_comparisons(run), run.faces) | _identify_weights(run)
    if run.precision_figures:
        parity[plan.precision] = run.precision_figures
    thresholds = run.thresholds
    return Contract(
        labels=subset.labels,
        network=checkpoint.network,
        golden=golden,
        input=InputSpec(size=checkpoint.size),
        precision=plan.precision,
        temperature=checkpoint.temperature,
        min_confidence=(
            checkpoint.min_confidence if thresholds is None else thresholds.min_confidence
        ),
        other_threshold=run.other_threshold,
        other_classes=subset.other_classes,
        metrics=metrics,
        parity=parity,
        training=checkpoint.training,
        tool_versions=collect_tool_versions(),
        graph_sha256=sha256(run.graph.graph.SerializeToString()).hexdigest(),
    )


def _select_final_comparisons(run: _Run) -> list[Comparison]:
    """Return the comparisons of the finished graph; for fp32, those of every stage."""
    if run.plan.precision == "fp32":
        return run.comparisons
    return [one for one in run.comparisons if one.stage == run.plan.precision]


def _identify_weights(run: _Run) -> dict[str, str]:
    """Return the digest by which emotion-verify finds the checkpoint; none for a bare network."""
    weights = run.checkpoint.weights
    return {WEIGHTS_KEY: hash_weights(weights)} if weights else {}


def _write_verified(run: _Run, contract: Contract, path: Path, report_path: Path) -> dict[str, Any]:
    """Write the model file and its parity report once the written file has passed its check.

    Returns:
        The parity report.
    """
    with write_atomically(path) as temporary, write_atomically(report_path) as temporary_report:
        with name_in_errors(path):
            onnx.save(run.graph, temporary)
        run.comparisons += verify_file(temporary, run.reference, run.faces, run.plan.gate)
        run.advance(FILE_STEPS)
        report = make_parity_report(
            name=path.name,
            file=temporary,
            contract=contract,
            weights=_identify_weights(run),
            graphs=run.graphs,
            faces=run.faces,
            gate=run.plan.gate,
            comparisons=run.comparisons,
            precision_figures=run.precision_figures,
        )
        temporary_report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _write_ort(run: _Run, path: Path) -> None:
    """Write the file in onnxruntime's own format, and verify it too."""
    target, comparisons = write_ort(path, run.reference, run.faces, run.plan.gate)
    run.comparisons += comparisons
    run.advance(FILE_STEPS)
    run.log(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, verified as well")


def _describe_graph(model: onnx.ModelProto) -> str:
    operators = count_operators(model)
    return (
        f"{sum(operators.values())} operators, {model.ByteSize() / 1e6:.2f} MB, "
        f"opset {get_opset(model)}, IR version {model.ir_version}"
    )


def check_target(path: Path, *, overwrite: bool, ort: bool = False, other: bool = False) -> None:
    """Refuse a target before minutes are spent on the export.

    Args:
        path: The model file. The files beside it have the same name with other suffixes.
        overwrite: Replace existing files.
        ort: ``*.ort`` and its list of operators will be written too.
        other: The pictures of the output `other` will be written too.

    Raises:
        ExportError: The name does not end in ``.onnx``, its folder is missing, or a file exists.
    """
    if path.suffix != ".onnx":
        raise ExportError(f"{path}: a model file's name ends in .onnx.")
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent}: no such folder.")
    if path.is_dir():
        raise ExportError(f"{path}: a folder is in the way.")
    suffixes = [".onnx", ".parity.json", ".export.md", ".export.png"]
    suffixes += [CURVES_SUFFIX, CONFUSION_SUFFIX] if other else []
    suffixes += [".ort", OPERATORS_SUFFIX] if ort else []
    for existing in map(path.with_suffix, suffixes):
        if existing.exists() and not overwrite:
            raise ExportError(f"{existing}: exists already; --overwrite replaces it.")
