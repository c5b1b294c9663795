"""Choose the best int8 graph, and measure what it costs against the float graph.

Each method to choose the ranges is tried, and the best graph that meets all requirements is kept.
If none does, the layers with the largest quantisation errors stay in float, one after another.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from emotion_export import defaults
from emotion_export.int8.labelled_faces import LabelledFaces, require_known_faces
from emotion_export.int8.quantise import METHODS, prepare_graph, quantise, rank_nodes_by_error
from emotion_export.parity.clear_labels import find_clear_labels
from emotion_export.parity.comparison import (
    BATCH_SIZES,
    Comparison,
    Gate,
    ParityError,
    Reference,
    open_graph,
    run_in_batches,
)
from emotion_export.parity.paired_comparison import (
    MIN_FACES_FOR_EXACT_SHARE,
    SIGNIFICANCE,
    WORSE,
    PairedTest,
    compare_predictions,
    min_agreeing_labels,
)

MAX_FLOAT_LAYERS = 3  # with more of them, fp32 is the better choice


@dataclass(frozen=True)
class AllowedLoss:
    """Largest losses of an int8 file against the float network, on held-out labelled faces.

    Attributes:
        accuracy: Loss of accuracy, 0 to 1.
        recall: Loss of the recall of each class, 0 to 1.
        size: Largest size, as a share of the float graph.
    """

    accuracy: float = defaults.ACCURACY_LOSS
    recall: float = defaults.RECALL_LOSS
    size: float = 1 / 3


@dataclass(frozen=True)
class Requirement:
    """A requirement of an int8 graph, with the measured and the required value.

    Attributes:
        is_met: Whether the graph meets it.
        text: Both values, for messages.
        option: The command-line option that would allow the value; empty if there is none.
    """

    is_met: bool
    text: str
    option: str = ""


@dataclass(frozen=True)
class QuantisedGraph:
    """An int8 graph and what it costs.

    Attributes:
        graph: The graph.
        method: How its ranges were chosen, a name in `METHODS`.
        in_float: Nodes that stay in float.
        label_agreement: Share of held-out faces with the same label as in the float graph, 0 to 1.
        clear_agreement: The same share among faces with a clear label, see `clear_labels`; 1 if
            there are none.
        clear_faces: Number of these faces.
        parity: The comparison with PyTorch on the faces of the parity check.
        accuracy: The paired test of the loss of accuracy on held-out faces.
        recall: The same for the faces of each class, by the index of the class.
        size: Bytes, as a share of the float graph.
    """

    graph: onnx.ModelProto
    method: str
    in_float: tuple[str, ...]
    label_agreement: float
    clear_agreement: float
    clear_faces: int
    parity: Comparison
    accuracy: PairedTest
    recall: dict[int, PairedTest]
    size: float

    @property
    def accuracy_loss(self) -> float:
        """Loss of accuracy on held-out faces; negative for a gain."""
        return self.accuracy.loss

    @property
    def recall_loss(self) -> float:
        """Largest loss of recall of a class."""
        return max(one.loss for one in self.recall.values())

    @property
    def faces(self) -> int:
        """Number of held-out faces."""
        return self.accuracy.faces

    def list_failures(
        self, label_agreement: float, allowed: AllowedLoss, labels: Sequence[str]
    ) -> list[str]:
        """Return the unmet requirements, each with its values and the option that allows them."""
        return [
            f"{one.text}{f' ({one.option} would allow it)' if one.option else ''}"
            for one in self.list_requirements(label_agreement, allowed, labels)
            if not one.is_met
        ]

    def list_requirements(
        self, label_agreement: float, allowed: AllowedLoss, labels: Sequence[str]
    ) -> list[Requirement]:
        """Return all requirements with their values.

        Args:
            label_agreement: Smallest share of equal labels, 0 to 1.
            allowed: Largest losses.
            labels: Names of the labels, by their index.
        """
        parity = self.parity
        return [
            _require_agreement(
                "held-out faces",
                label_agreement,
                faces=self.faces,
                agreement=self.label_agreement,
                clear_faces=self.clear_faces,
                clear_agreement=self.clear_agreement,
            ),
            _require_agreement(
                "faces of the parity check",
                label_agreement,
                faces=parity.faces,
                agreement=parity.label_agreement,
                clear_faces=parity.clear_faces,
                clear_agreement=parity.clear_label_agreement,
            ),
            _require_small_loss("accuracy loss", self.accuracy, "--allow-accuracy-loss"),
            *(
                _require_small_loss(f"recall loss of {labels[index]}", test, "--allow-recall-loss")
                for index, test in self.recall.items()
            ),
            Requirement(
                self.size <= allowed.size, f"size {self.size:.1%} (allowed {allowed.size:.1%})"
            ),
        ]

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "method": self.method,
            "in_float": list(self.in_float),
            "label_agreement": round(self.label_agreement, 6),
            "clear_label_agreement": round(self.clear_agreement, 6),
            "clear_faces": self.clear_faces,
            "parity_agreement": round(self.parity.label_agreement, 6),
            "parity_clear_agreement": round(self.parity.clear_label_agreement, 6),
            "accuracy_loss": round(self.accuracy_loss, 6),
            "recall_loss": round(self.recall_loss, 6),
            "size": round(self.size, 6),
            "faces": self.faces,
            "paired_comparisons": {
                "accuracy": self.accuracy.to_dict(),
                "recall": {labels[index]: one.to_dict() for index, one in self.recall.items()},
            },
        }

    def __str__(self) -> str:
        kept = f", {len(self.in_float)} layers in float" if self.in_float else ""
        worst = max(self.recall.values(), key=lambda one: (one.decision == WORSE, one.loss))
        return (
            f"{self.method}{kept}: label agreement {self.label_agreement:.2%} held out "
            f"({self.clear_agreement:.2%} of {self.clear_faces:,} clear labels), "
            f"{self.parity.label_agreement:.2%} on the faces of the parity check; accuracy loss "
            f"{self.accuracy}; largest recall loss {worst.loss:+.2%} on {worst.faces:,} faces "
            f"({worst.broken:,} broken, {worst.mended:,} mended, p {worst.p_value:.2g}); "
            f"{self.size:.1%} of the size"
        )


def _require_agreement(
    where: str,
    required: float,
    *,
    faces: int,
    agreement: float,
    clear_faces: int,
    clear_agreement: float,
) -> Requirement:
    """Return the requirement on the share of equal labels, on faces with a clear label if any."""
    on_all = ""
    if clear_faces:
        where += " with a clear label"
        on_all = f"; {agreement:.2%} on all {faces:,}"
        faces, agreement = clear_faces, clear_agreement
    fewest = min_agreeing_labels(faces, required)
    on_few = "" if faces >= MIN_FACES_FOR_EXACT_SHARE else f", at least {fewest:,} on so few"
    return Requirement(
        round(agreement * faces) >= fewest,
        f"label agreement {agreement:.2%} on {faces:,} {where} (required {required:.2%}"
        f"{on_few}{on_all})",
        f"--allow-label-agreement {math.floor(agreement * 1000) / 1000:g}",
    )


def _require_small_loss(name: str, test: PairedTest, option: str) -> Requirement:
    """Return the requirement that a loss is not significantly larger than allowed."""
    sufficient = math.ceil(test.loss * 1000) / 1000
    return Requirement(test.decision != WORSE, f"{name} {test}", f"{option} {sufficient:g}")


def find_best_int8(
    model: onnx.ModelProto,
    faces: LabelledFaces,
    reference: Reference,
    label_agreement: float,
    allowed: AllowedLoss,
    recorded_accuracy: float | None,
    labels: Sequence[str],
    log: Callable[[str], None] = lambda _: None,
    on_step: Callable[[], None] = lambda: None,
) -> QuantisedGraph:
    """Quantise with each method, and return the best graph that meets all requirements.

    Args:
        model: The float graph.
        faces: Faces for calibration and held-out faces.
        reference: PyTorch's outputs for the parity check, which the graph will have to pass too.
        label_agreement: Smallest share of equal labels, 0 to 1.
        allowed: Largest losses.
        recorded_accuracy: Accuracy of the network on held-out faces in training; None if it is
            not known.
        labels: Class names in the order of the logits.
        log: Called with a line for each graph.
        on_step: Called after each method, for a progress bar.

    Raises:
        ConversionError: onnxruntime cannot quantise the graph.
        ParityError: The faces are not like those of the training, or no graph meets all
            requirements; the message has the values of the best one.
    """
    evaluator = _Evaluator(model, faces, reference, allowed)
    require_known_faces(evaluator.accuracy, recorded_accuracy)
    tried = []
    for method in METHODS:
        tried.append(evaluator.quantise(method))
        log(f"int8, {tried[-1]}")
        on_step()
    best = max(tried, key=_rank)
    if best.list_failures(label_agreement, allowed, labels):
        hardest = rank_nodes_by_error(evaluator.graph, best.graph, faces.calibration)
        for count in range(1, min(MAX_FLOAT_LAYERS, len(hardest)) + 1):
            one = evaluator.quantise(best.method, tuple(hardest[:count]))
            log(f"int8, {one}")
            tried.append(one)
            if not one.list_failures(label_agreement, allowed, labels):
                break
    passed = [one for one in tried if not one.list_failures(label_agreement, allowed, labels)]
    if not passed:
        best = max(tried, key=_rank)
        raise ParityError(
            f"int8 loses too much, even with {best.method} ranges, the best of those tried: "
            f"{'; '.join(best.list_failures(label_agreement, allowed, labels))}. Use fp32 or "
            f"fp16, or relax a limit."
        )
    return max(passed, key=_rank)


def _rank(one: QuantisedGraph) -> tuple[float, ...]:
    """Return a sort key, larger for better graphs."""
    return (-max(one.accuracy_loss, 0.0), one.label_agreement, -one.recall_loss)


class _Evaluator:
    """Quantises a float graph and evaluates the results on held-out faces."""

    def __init__(
        self,
        model: onnx.ModelProto,
        faces: LabelledFaces,
        reference: Reference,
        allowed: AllowedLoss,
    ) -> None:
        self.graph = prepare_graph(model)
        self._faces, self._reference, self._allowed = faces, reference, allowed
        data = model.SerializeToString()
        self._bytes = len(data)
        threshold = reference.other_threshold
        outputs = run_in_batches(open_graph(data, "full"), faces.held_out.pixels)
        self._labels = outputs.decide(threshold)
        self._clear = find_clear_labels(outputs.probabilities, outputs.other, threshold)

    @property
    def accuracy(self) -> float:
        """Return the accuracy of the float graph on the held-out faces, 0 to 1."""
        return float((self._labels == self._faces.held_out.labels).mean())

    def quantise(self, method: str, in_float: tuple[str, ...] = ()) -> QuantisedGraph:
        """Quantise the graph and evaluate the result."""
        graph = quantise(self.graph, self._faces.calibration, method, in_float=in_float)
        data = graph.SerializeToString()
        held_out = self._faces.held_out
        infer = open_graph(data, "full")
        # ``other`` is one of the labels.
        labels = run_in_batches(infer, held_out.pixels).decide(self._reference.other_threshold)
        same = labels == self._labels
        parity = self._reference.compare(infer, method, "full", max(BATCH_SIZES))
        before, after = (one == held_out.labels for one in (self._labels, labels))
        present = [int(label) for label in np.unique(held_out.labels)]
        recall = {
            label: compare_predictions(
                before[held_out.labels == label],
                after[held_out.labels == label],
                self._allowed.recall,
                SIGNIFICANCE / len(present),  # Bonferroni: one test for each class
            )
            for label in present
        }
        return QuantisedGraph(
            graph=graph,
            method=method,
            in_float=in_float,
            label_agreement=float(same.mean()),
            clear_agreement=float(same[self._clear].mean()) if self._clear.any() else 1.0,
            clear_faces=int(self._clear.sum()),
            parity=parity,
            accuracy=compare_predictions(before, after, self._allowed.accuracy),
            recall=recall,
            size=len(data) / self._bytes,
        )


def measure_speedup(
    before: onnx.ModelProto, after: onnx.ModelProto, size: int, *, rounds: int = 30
) -> float:
    """Return how many times as fast `after` runs here as `before`: batch size 1, one thread.

    The graphs run in turns; the result is the median over the rounds.
    """
    face = np.full((1, 1, size, size), 127, np.uint8)
    face[:, :, ::2] = 90
    cases = [open_graph(model.SerializeToString(), "full", threads=1) for model in (before, after)]
    ratios = []
    for _ in range(rounds):
        seconds = []
        for infer in cases:
            started = time.perf_counter()
            for _ in range(10):
                infer(face)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def find_relaxed_limits(gate: Gate, default: Gate, allowed: AllowedLoss) -> dict[str, float]:
    """Return the limits that are wider than their defaults, by name, for the file's metadata."""
    strict = asdict(AllowedLoss())
    relaxed = {name: value for name, value in asdict(allowed).items() if value > strict[name]}
    if gate.label_agreement < default.label_agreement:
        relaxed["label_agreement"] = gate.label_agreement
    return relaxed
