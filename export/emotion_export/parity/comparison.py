"""Parity: does a model file answer as the PyTorch network does, on the same faces?

Judged on real faces, not on random tensors: noise lies far from every decision, so that a label
never flips on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from emotion_export.errors import ExportError, reason_of
from emotion_export.label_subset.subset import LabelSubset, keep_all
from emotion_export.parity.clear_labels import find_clear_labels
from emotion_export.parity.paired_comparison import fewest_agreeing
from emotion_runtime.model.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES
from emotion_runtime.model.outputs import Outputs
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures.preprocessing import Pixels
from emotion_train.evaluation import predict_logits

BATCH_SIZES = (1, 7, 64)  # alone, uneven, many
OPTIMISATIONS = ("off", "full")  # onnxruntime's rewriting of the graph
# Compared one by one and by sevens. Every face is compared by 64; what a batch size alone can
# break, such as a constant batch in the graph, shows on any face.
MAX_FACES_IN_SMALL_BATCHES = 128

Infer = Callable[[Pixels], Outputs]


@dataclass(frozen=True)
class Gate:
    """What a file must keep to.

    Attributes:
        logit_difference: Largest absolute difference of a logit from PyTorch's, and of the output
            `other`; None for fewer bits, where the labels decide, and NaN alone is refused.
        label_agreement: Smallest part of the labels that are the same, 0 to 1. On few faces one
            or two more may differ by chance, see `fewest_agreeing`.
        clear_alone: Count only the faces with a clear label, see `clear_labels`.
    """

    logit_difference: float | None = 1e-4
    label_agreement: float = 1.0
    clear_alone: bool = False

    def counted(self, comparison: Comparison) -> tuple[int, float]:
        """Return how many faces of a comparison count, and what part of their labels agrees."""
        if self.clear_alone and comparison.clear_faces:
            return comparison.clear_faces, comparison.clear_label_agreement
        return comparison.faces, comparison.label_agreement


# By precision. Eight bits move every logit a little; what counts is the label.
GATES = {
    "fp32": Gate(),
    "fp16": Gate(None, 0.999, clear_alone=True),
    "int8": Gate(None, 0.99, clear_alone=True),
}


@dataclass(frozen=True)
class Comparison:
    """One way to run a graph, compared with PyTorch.

    Attributes:
        stage: Which graph: ``converted``, ``simplified``, ``fp16``, ``int8``, the ``file`` as
            the device opens it, the same with two ``threads``, or the ``pictures`` as the device
            reads them.
        optimisation: onnxruntime's graph optimisation: ``off`` or ``full``.
        batch_size: Faces at a time.
        faces: Faces compared.
        max_logit_difference, mean_logit_difference: Of absolute differences.
        max_probability_difference, mean_probability_difference: Likewise, 0 to 1.
        label_agreement: Part of the faces whose label is the same, 0 to 1; ``other`` is one of
            the labels.
        max_other_difference: Largest absolute difference of the output `other`; None in files
            without it.
        clear_faces: Faces whose label is clear by PyTorch's probabilities.
        clear_label_agreement: Part of these whose label is the same, 0 to 1; 1 where there are
            none.
    """

    stage: str
    optimisation: str
    batch_size: int
    faces: int
    max_logit_difference: float
    mean_logit_difference: float
    max_probability_difference: float
    mean_probability_difference: float
    label_agreement: float
    max_other_difference: float | None = None
    clear_faces: int = 0
    clear_label_agreement: float = 1.0

    def passes(self, gate: Gate) -> bool:
        """Say whether the gate opens; a NaN never passes."""
        allowed = np.inf if gate.logit_difference is None else gate.logit_difference
        other = 0.0 if self.max_other_difference is None else self.max_other_difference
        differences = self.max_logit_difference <= allowed and other <= allowed
        faces, agreement = gate.counted(self)
        return differences and round(agreement * faces) >= fewest_agreeing(
            faces, gate.label_agreement
        )

    def __str__(self) -> str:
        other = self.max_other_difference
        return (
            f"{self.stage:<10}  optimisation {self.optimisation:<4}  batch {self.batch_size:>2}  "
            f"faces {self.faces:>5}  "
            f"logits max {self.max_logit_difference:.2e} mean {self.mean_logit_difference:.2e}  "
            f"probabilities max {self.max_probability_difference:.2e} "
            f"mean {self.mean_probability_difference:.2e}  "
            + ("" if other is None else f"other max {other:.2e}  ")
            + f"labels {self.label_agreement:.2%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, differences rounded to three digits."""
        return {
            name: float(f"{value:.3g}") if name.endswith("_difference") else value
            for name, value in asdict(self).items()
            if value is not None
        }


class ParityError(ExportError):
    """The file does not answer as PyTorch does.

    Attributes:
        comparisons: Every figure taken until the file was refused.
    """

    def __init__(self, message: str, comparisons: Sequence[Comparison] = ()) -> None:
        super().__init__(message)
        self.comparisons = tuple(comparisons)


class Reference:
    """The network in PyTorch and its answers to the faces that a file is proven on.

    Args:
        network: Takes uint8 (batch, 1, size, size), gives logits.
        temperature: Logits are divided by it before softmax.
        faces: uint8, shape (n, size, size).
        subset: Which classes the file keeps; None for all.
        other_threshold: Where the output `other` reaches it, the label is ``other``; None in
            files without this output.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        temperature: float,
        faces: Pixels,
        subset: LabelSubset | None = None,
        other_threshold: float | None = None,
    ) -> None:
        self.faces = faces
        logits = predict_logits(network, faces)
        subset = keep_all([""] * logits.shape[1]) if subset is None else subset
        self.logits, self.probabilities, self.other = subset.outputs(logits, temperature)
        self.other_threshold = other_threshold
        other = None if self.other is None else self.other.astype(np.float32)
        self.labels = Outputs(self.logits, self.logits, other).decide(other_threshold)
        self.clear = find_clear_labels(self.probabilities, self.other, other_threshold)

    def compare(
        self,
        infer: Infer,
        stage: str,
        optimisation: str,
        batch_size: int,
        most_faces: int | None = None,
    ) -> Comparison:
        """Run `infer` over the faces, `batch_size` at a time, and compare its outputs.

        Args:
            infer: Runs a batch.
            stage: Name of the graph in the figures.
            optimisation: Name of the graph optimisation in the figures.
            batch_size: Faces at a time.
            most_faces: Compare so many at most, evenly spread; None for all.
        """
        total = len(self.faces)
        count = total if most_faces is None else min(most_faces, total)
        chosen = np.arange(count) * total // count
        outputs = run_in_batches(infer, self.faces[chosen], batch_size)
        logits, probabilities, other = outputs
        wanted = (count, self.logits.shape[1])
        if logits.shape != wanted or probabilities.shape != wanted:
            raise ParityError(
                f"the {stage} graph gives logits of shape {logits.shape}, PyTorch {wanted}."
            )
        logit_gap = np.abs(logits.astype(np.float64) - self.logits[chosen])
        chance_gap = np.abs(probabilities - self.probabilities[chosen])
        if (other is None) != (self.other is None):
            raise ParityError(f"the {stage} graph has not the outputs that the file must have.")
        other_gap = None
        if other is not None and self.other is not None:
            other_gap = float(np.abs(other - self.other[chosen]).max())
        # By the probabilities, which decide the label on the device.
        same = outputs.decide(self.other_threshold) == self.labels[chosen]
        clear = same[self.clear[chosen]]
        return Comparison(
            stage,
            optimisation,
            batch_size,
            count,
            float(logit_gap.max()),
            float(logit_gap.mean()),
            float(chance_gap.max()),
            float(chance_gap.mean()),
            float(same.mean()),
            other_gap,
            len(clear),
            float(clear.mean()) if len(clear) else 1.0,
        )

    def missing(self, labels: Sequence[str]) -> list[str]:
        """Return the labels that the network gives to none of the faces, in label order.

        Whether a file gives these labels as PyTorch does, no comparison on the faces can tell.
        """
        given = set(self.labels.tolist())
        return [name for index, name in enumerate(labels) if index not in given]

    def compare_graph(
        self, model: bytes, stage: str, on_step: Callable[[], None] = lambda: None
    ) -> list[Comparison]:
        """Compare a serialised graph at every batch size and optimisation level.

        All faces are compared at the largest batch size, at the others
        `MAX_FACES_IN_SMALL_BATCHES` at most.

        Args:
            model: The graph, as the bytes of an ONNX file.
            stage: Its name in the figures.
            on_step: Called after each comparison.

        Raises:
            ParityError: onnxruntime cannot open or run the graph.
        """
        comparisons = []
        for optimisation in OPTIMISATIONS:
            infer = None
            for batch_size in BATCH_SIZES:
                largest = batch_size == max(BATCH_SIZES)
                most = None if largest else MAX_FACES_IN_SMALL_BATCHES
                try:
                    infer = infer or session_of(model, optimisation)
                    comparisons.append(self.compare(infer, stage, optimisation, batch_size, most))
                except ParityError:
                    raise
                except Exception as error:  # onnxruntime's errors share no public base
                    raise ParityError(
                        f"onnxruntime cannot run the {stage} graph at batch {batch_size} "
                        f"({reason_of(error)}).",
                        comparisons,
                    ) from error
                on_step()
        return comparisons


def run_in_batches(infer: Infer, faces: Pixels, batch_size: int = max(BATCH_SIZES)) -> Outputs:
    """Run faces uint8 (n, size, size) batch by batch."""
    starts = range(0, len(faces), batch_size)
    parts = [infer(faces[start : start + batch_size, np.newaxis]) for start in starts]
    others = [part.other for part in parts if part.other is not None]
    return Outputs(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate(others) if others else None,
    )


def session_of(model: bytes, optimisation: str, threads: int = 0) -> Infer:
    """Open a graph in onnxruntime; returns what runs a batch. 0 threads: as many as it likes."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_DISABLE_ALL if optimisation == "off" else levels.ORT_ENABLE_ALL
    )
    options.intra_op_num_threads = threads
    # A pool that spins between small batches takes more of the CPU than the batches.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised
    session = onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )

    given = [output.name for output in session.get_outputs()]
    names = [*OUTPUT_NAMES, *([OTHER_NAME] if OTHER_NAME in given else [])]

    def infer(pixels: Pixels) -> Outputs:
        return Outputs(*session.run(names, {INPUT_NAME: pixels}))

    return infer


def require(comparisons: Sequence[Comparison], gate: Gate) -> None:
    """Let only figures through that keep to the gate.

    Raises:
        ParityError: At least one does not; it names the worst.
    """
    failed = [one for one in comparisons if not one.passes(gate)]
    if not failed:
        return
    # NaN first: it is worse than any number, and no comparison would find it.
    worst = max(
        failed,
        key=lambda one: (
            np.isnan(one.max_logit_difference),
            1.0 - gate.counted(one)[1],
            one.max_logit_difference,
        ),
    )
    allowed = "any" if gate.logit_difference is None else f"{gate.logit_difference:.0e}"
    faces, agreement = gate.counted(worst)
    clear = " with a clear label" if gate.clear_alone and worst.clear_faces else ""
    raise ParityError(
        f"the {worst.stage} graph does not answer as PyTorch does: largest logit difference "
        f"{worst.max_logit_difference:.2e} (allowed {allowed}), label agreement {agreement:.2%} "
        f"on {faces:,} faces{clear} (required {gate.label_agreement:.2%}), at batch "
        f"{worst.batch_size} with optimisation {worst.optimisation}.",
        comparisons,
    )
