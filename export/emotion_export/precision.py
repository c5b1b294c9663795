"""Smaller files: fp16 and int8, each judged by its own gates against the network in float.

int8 is tried with every way to choose ranges, and the best is kept; where none opens the gates,
the layers that suffer most are left in float, one after the other.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from emotion_export.errors import ParityError
from emotion_export.labelled_faces import LabelledFaces
from emotion_export.parity import BATCH_SIZES, Reference, answers_of, session_of
from emotion_export.quantise import METHODS, hardest_nodes, prepared, quantise
from emotion_train.evaluation import measure

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
class Quantised:
    """An int8 graph and what it costs.

    Attributes:
        graph: The graph.
        method: How its ranges were chosen.
        in_float: Nodes left in float.
        label_agreement: With the float graph on held-out faces, 0 to 1.
        parity_agreement: With PyTorch on the faces that the finished file is proven on, 0 to 1.
        accuracy_loss: On held-out faces; negative where it gained.
        recall_loss: The largest of any class.
        size: Part of the float graph's bytes.
        faces: Held-out faces judged on.
    """

    graph: onnx.ModelProto
    method: str
    in_float: tuple[str, ...]
    label_agreement: float
    parity_agreement: float
    accuracy_loss: float
    recall_loss: float
    size: float
    faces: int

    def failures(self, label_agreement: float, allowed: Loss) -> list[str]:
        """Say which gates stay shut, each with its figures."""
        return [text for passed, text in self.gates(label_agreement, allowed) if not passed]

    def gates(self, label_agreement: float, allowed: Loss) -> list[tuple[bool, str]]:
        """Say of each gate whether it opens, with what was reached and what is required."""
        return [
            (
                self.label_agreement >= label_agreement,
                f"label agreement {self.label_agreement:.2%} (required {label_agreement:.2%})",
            ),
            (
                self.parity_agreement >= label_agreement,
                f"label agreement {self.parity_agreement:.2%} on the faces of the proof "
                f"(required {label_agreement:.2%})",
            ),
            (
                self.accuracy_loss <= allowed.accuracy,
                f"accuracy loss {self.accuracy_loss:.2%} (allowed {allowed.accuracy:.2%})",
            ),
            (
                self.recall_loss <= allowed.recall,
                f"a class's recall loss {self.recall_loss:.2%} (allowed {allowed.recall:.2%})",
            ),
            (self.size <= allowed.size, f"size {self.size:.1%} (allowed {allowed.size:.1%})"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        values = {name: value for name, value in self.__dict__.items() if name != "graph"}
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}

    def __str__(self) -> str:
        kept = f", {len(self.in_float)} layers in float" if self.in_float else ""
        return (
            f"{self.method}{kept}: label agreement {self.label_agreement:.2%}, accuracy loss "
            f"{self.accuracy_loss:+.2%}, largest recall loss {self.recall_loss:+.2%} on "
            f"{self.faces:,} held-out faces, {self.size:.1%} of the size"
        )


def best_int8(
    model: onnx.ModelProto,
    faces: LabelledFaces,
    reference: Reference,
    label_agreement: float,
    allowed: Loss,
    known: float | None,
    say: Callable[[str], None] = lambda _: None,
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
        say: Takes a line for each graph that is tried.

    Raises:
        ConversionError: onnxruntime cannot quantise the graph.
        ParityError: The faces are not the network's, or no graph opens the gates; the message
            has the figures of the one that came closest.
    """
    judge = _Judge(model, faces, reference)
    if known is not None:
        judge.require_known_faces(known)
    tried = [judge.quantised(method) for method in METHODS]
    for one in tried:
        say(f"int8, {one}")
    best = max(tried, key=_quality)
    if best.failures(label_agreement, allowed):
        hardest = hardest_nodes(judge.prepared, best.graph, faces.calibration)
        for count in range(1, min(MOST_IN_FLOAT, len(hardest)) + 1):
            one = judge.quantised(best.method, tuple(hardest[:count]))
            say(f"int8, {one}")
            tried.append(one)
            if not one.failures(label_agreement, allowed):
                break
    opened = [one for one in tried if not one.failures(label_agreement, allowed)]
    if not opened:
        best = max(tried, key=_quality)
        raise ParityError(
            f"int8 costs too much: {'; '.join(best.failures(label_agreement, allowed))}, with "
            f"{best.method} ranges on {best.faces:,} held-out faces. Take fp32 or fp16, or loosen "
            f"a gate with --allow-…"
        )
    return max(opened, key=_quality)


def _quality(one: Quantised) -> tuple[float, ...]:
    return (-max(one.accuracy_loss, 0.0), one.label_agreement, -one.recall_loss)


class _Judge:
    """Quantises one graph and compares the results with it on held-out faces."""

    def __init__(self, model: onnx.ModelProto, faces: LabelledFaces, reference: Reference) -> None:
        self.prepared, self._faces, self._reference = prepared(model), faces, reference
        data = model.SerializeToString()
        self._bytes = len(data)
        self._logits, _ = answers_of(session_of(data, "full"), faces.held_out.pixels)
        self._before = measure(self._logits, faces.held_out.labels)

    def require_known_faces(self, recorded: float) -> None:
        """Refuse faces that the network does not know: ranges taken from noise fit no face.

        Args:
            recorded: The network's accuracy on held-out faces when it was trained.

        Raises:
            ParityError: It is right on far fewer of these.
        """
        accuracy = self._before.accuracy
        if accuracy < recorded - 0.05:
            raise ParityError(
                f"the calibration data are not what the network was trained on: it is right on "
                f"{accuracy:.1%} of their held-out faces, and was on {recorded:.1%} in training. "
                f"Ranges taken from other pictures, or from noise, fit no face."
            )

    def quantised(self, method: str, in_float: tuple[str, ...] = ()) -> Quantised:
        graph = quantise(self.prepared, self._faces.calibration, method, in_float=in_float)
        data = graph.SerializeToString()
        held_out = self._faces.held_out
        infer = session_of(data, "full")
        logits, _ = answers_of(infer, held_out.pixels)
        proof = self._reference.compare(infer, method, "full", max(BATCH_SIZES))
        after = measure(logits, held_out.labels)
        return Quantised(
            graph,
            method,
            in_float,
            float((logits.argmax(axis=1) == self._logits.argmax(axis=1)).mean()),
            proof.label_agreement,
            self._before.accuracy - after.accuracy,
            float((self._before.recall - after.recall).max()),
            len(data) / self._bytes,
            len(held_out),
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
