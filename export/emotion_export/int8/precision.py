"""Smaller files: fp16 and int8, each judged by its own gates against the network in float.

int8 is tried with every way to choose ranges, and the best is kept; where none opens the gates,
the layers that suffer most are left in float, one after the other.
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

from emotion_export.int8.labelled_faces import LabelledFaces, require_known_faces
from emotion_export.int8.quantise import METHODS, hardest_nodes, prepared, quantise
from emotion_export.parity.clear_labels import find_clear_labels
from emotion_export.parity.comparison import (
    BATCH_SIZES,
    Comparison,
    ParityError,
    Reference,
    run_in_batches,
    session_of,
)
from emotion_export.parity.paired_comparison import (
    SIGNIFICANCE,
    WORSE,
    PairedTest,
    compare_answers,
    fewest_agreeing,
)

MOST_IN_FLOAT = 3  # layers; with more of them one had better take fp32


@dataclass(frozen=True)
class Loss:
    """What a file may lose against the network in float, on held-out labelled faces.

    Attributes:
        accuracy: Of accuracy, 0 to 1.
        recall: Of any class's recall, 0 to 1.
        size: Largest part of the float file's bytes.
    """

    accuracy: float = 0.003
    recall: float = 0.005
    size: float = 1 / 3


@dataclass(frozen=True)
class Requirement:
    """One gate of an int8 graph: what was reached, and what is required.

    Attributes:
        passed: Whether it opens.
        text: Both figures, for a person.
        option: What would open it, as on the command line; empty where nothing does.
    """

    passed: bool
    text: str
    option: str = ""


@dataclass(frozen=True)
class Quantised:
    """An int8 graph and what it costs.

    Attributes:
        graph: The graph.
        method: How its ranges were chosen.
        in_float: Nodes left in float.
        label_agreement: With the float graph on held-out faces, 0 to 1.
        clear_agreement: The same on those whose label is clear, see `clear_labels`; 1 where none
            is.
        clear_faces: How many these are.
        parity: The comparison with PyTorch on the faces of the parity check.
        accuracy: Broken and mended held-out faces against the accuracy loss that is allowed.
        recall: The same for the faces of each class, by its index.
        size: Part of the float graph's bytes.
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
        """Of accuracy on held-out faces; negative where it gained."""
        return self.accuracy.loss

    @property
    def recall_loss(self) -> float:
        """The largest of any class."""
        return max(one.loss for one in self.recall.values())

    @property
    def faces(self) -> int:
        """Held-out faces judged on."""
        return self.accuracy.faces

    def failures(self, label_agreement: float, allowed: Loss, labels: Sequence[str]) -> list[str]:
        """Return which gates stay shut, each with its figures and the option that opens it."""
        return [
            f"{one.text}{f' ({one.option} would allow it)' if one.option else ''}"
            for one in self.gates(label_agreement, allowed, labels)
            if not one.passed
        ]

    def gates(
        self, label_agreement: float, allowed: Loss, labels: Sequence[str]
    ) -> list[Requirement]:
        """Return every gate: whether it opens, what was reached and what is required."""
        found = []
        held_out = (self.faces, self.label_agreement, self.clear_faces, self.clear_agreement)
        parity = self.parity
        checked = (
            parity.faces,
            parity.label_agreement,
            parity.clear_faces,
            parity.clear_label_agreement,
        )
        for (faces, part, clear_faces, clear_part), where in (
            (held_out, "held-out faces"),
            (checked, "faces of the parity check"),
        ):
            on_all = ""
            if clear_faces:
                where += " with a clear label"
                on_all = f"; {part:.2%} on all {faces:,}"
                faces, part = clear_faces, clear_part
            fewest = fewest_agreeing(faces, label_agreement)
            by_chance = f", at least {fewest:,} on so few" if faces < 1000 else ""
            found.append(
                Requirement(
                    round(part * faces) >= fewest,
                    f"label agreement {part:.2%} on {faces:,} {where} (required "
                    f"{label_agreement:.2%}{by_chance}{on_all})",
                    f"--allow-label-agreement {math.floor(part * 1000) / 1000:g}",
                )
            )
        losses = [("accuracy loss", self.accuracy, "--allow-accuracy-loss")]
        losses += [
            (f"recall loss of {labels[index]}", one, "--allow-recall-loss")
            for index, one in self.recall.items()
        ]
        for name, test, option in losses:
            opening = math.ceil(test.loss * 1000) / 1000
            found.append(
                Requirement(test.decision != WORSE, f"{name} {test}", f"{option} {opening:g}")
            )
        fits = self.size <= allowed.size
        found.append(Requirement(fits, f"size {self.size:.1%} (allowed {allowed.size:.1%})"))
        return found

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


def best_int8(
    model: onnx.ModelProto,
    faces: LabelledFaces,
    reference: Reference,
    label_agreement: float,
    allowed: Loss,
    known: float | None,
    labels: Sequence[str],
    say: Callable[[str], None] = lambda _: None,
    on_step: Callable[[], None] = lambda: None,
) -> Quantised:
    """Quantise in every way, and return the best that opens the gates.

    Args:
        model: The float graph.
        faces: What ranges are taken from, and what the results are judged on.
        reference: What the finished file is proven against, so that none is chosen that fails it.
        label_agreement: The gate of label agreement.
        allowed: The other gates.
        known: The network's accuracy on held-out faces when it was trained; None where nobody
            measured it.
        labels: Class names in the order of the logits.
        say: Takes a line for each graph that is tried.
        on_step: Called after each way to choose ranges, for a progress bar.

    Raises:
        ConversionError: onnxruntime cannot quantise the graph.
        ParityError: The faces are not the network's, or no graph opens the gates; the message
            has the figures of the one that came closest.
    """
    judge = _Judge(model, faces, reference, allowed)
    require_known_faces(judge.accuracy, known)
    tried = []
    for method in METHODS:
        tried.append(judge.quantised(method))
        say(f"int8, {tried[-1]}")
        on_step()
    best = max(tried, key=_quality)
    if best.failures(label_agreement, allowed, labels):
        hardest = hardest_nodes(judge.prepared, best.graph, faces.calibration)
        for count in range(1, min(MOST_IN_FLOAT, len(hardest)) + 1):
            one = judge.quantised(best.method, tuple(hardest[:count]))
            say(f"int8, {one}")
            tried.append(one)
            if not one.failures(label_agreement, allowed, labels):
                break
    opened = [one for one in tried if not one.failures(label_agreement, allowed, labels)]
    if not opened:
        best = max(tried, key=_quality)
        raise ParityError(
            f"int8 costs too much, with {best.method} ranges, the best that were tried: "
            f"{'; '.join(best.failures(label_agreement, allowed, labels))}. Take fp32 or fp16, or "
            f"name what it may lose."
        )
    return max(opened, key=_quality)


def _quality(one: Quantised) -> tuple[float, ...]:
    return (-max(one.accuracy_loss, 0.0), one.label_agreement, -one.recall_loss)


class _Judge:
    """Quantises one graph and compares the results with it on held-out faces."""

    def __init__(
        self, model: onnx.ModelProto, faces: LabelledFaces, reference: Reference, allowed: Loss
    ) -> None:
        self.prepared, self._faces, self._reference = prepared(model), faces, reference
        self._allowed = allowed
        data = model.SerializeToString()
        self._bytes = len(data)
        threshold = reference.other_threshold
        outputs = run_in_batches(session_of(data, "full"), faces.held_out.pixels)
        self._labels = outputs.decide(threshold)
        self._clear = find_clear_labels(outputs.probabilities, outputs.other, threshold)

    @property
    def accuracy(self) -> float:
        """Return the accuracy of the float graph on the held-out faces, 0 to 1."""
        return float((self._labels == self._faces.held_out.labels).mean())

    def quantised(self, method: str, in_float: tuple[str, ...] = ()) -> Quantised:
        """Quantise the graph, and compare the result on every held-out face."""
        graph = quantise(self.prepared, self._faces.calibration, method, in_float=in_float)
        data = graph.SerializeToString()
        held_out = self._faces.held_out
        infer = session_of(data, "full")
        # ``other`` is one of the labels.
        labels = run_in_batches(infer, held_out.pixels).decide(self._reference.other_threshold)
        same = labels == self._labels
        parity = self._reference.compare(infer, method, "full", max(BATCH_SIZES))
        before, after = (one == held_out.labels for one in (self._labels, labels))
        present = [int(label) for label in np.unique(held_out.labels)]
        recall = {
            label: compare_answers(
                before[held_out.labels == label],
                after[held_out.labels == label],
                self._allowed.recall,
                SIGNIFICANCE / len(present),  # one test for each class: all together as one
            )
            for label in present
        }
        return Quantised(
            graph,
            method,
            in_float,
            float(same.mean()),
            float(same[self._clear].mean()) if self._clear.any() else 1.0,
            int(self._clear.sum()),
            parity,
            compare_answers(before, after, self._allowed.accuracy),
            recall,
            len(data) / self._bytes,
        )


def speed_ratio(
    before: onnx.ModelProto, after: onnx.ModelProto, size: int, *, rounds: int = 30
) -> float:
    """Say how many times as fast `after` is on this machine: batch 1, one thread, in turns."""
    face = np.full((1, 1, size, size), 127, np.uint8)
    face[:, :, ::2] = 90
    cases = [session_of(model.SerializeToString(), "full", threads=1) for model in (before, after)]
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


def loosened(label_agreement: float, required: float, allowed: Loss) -> dict[str, float]:
    """Name the gates that were opened wider than they stand, for the file's own record."""
    strict = asdict(Loss())
    wider = {name: value for name, value in asdict(allowed).items() if value > strict[name]}
    return wider | ({"label_agreement": label_agreement} if label_agreement < required else {})
