"""The parity check: compare a graph in onnxruntime with the network in PyTorch, face by face.

It needs real faces. Random tensors lie far from every decision border, so their labels never flip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from emotion_export.errors import ExportError
from emotion_export.label_subset.subset import LabelSubset, keep_all
from emotion_export.parity.clear_labels import find_clear_labels
from emotion_export.parity.paired_comparison import min_agreeing_labels
from emotion_runtime.errors import format_reason
from emotion_runtime.model.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES
from emotion_runtime.model.outputs import Outputs
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures.preprocessing import Pixels
from emotion_train.evaluation import predict_logits

BATCH_SIZES = (1, 7, 64)  # alone, uneven, many
OPTIMISATIONS = ("off", "full")  # graph optimisation of onnxruntime
# At batch sizes 1 and 7. All faces are compared at 64. An error that depends on the batch size,
# such as a constant batch in the graph, shows on any face.
MAX_FACES_IN_SMALL_BATCHES = 128

Infer = Callable[[Pixels], Outputs]


@dataclass(frozen=True)
class Gate:
    """Limits of a comparison with PyTorch.

    Attributes:
        logit_difference: Largest absolute difference of a logit, and of the output `other`. None
            for fp16 and int8: only NaN is refused, and the labels decide.
        label_agreement: Smallest share of equal labels, 0 to 1. On few faces one or two more may
            differ by chance, see `min_agreeing_labels`.
        only_clear_labels: Count only the faces with a clear label, see `clear_labels`.
    """

    logit_difference: float | None = 1e-4
    label_agreement: float = 1.0
    only_clear_labels: bool = False

    def count_faces(self, comparison: Comparison) -> int:
        """Return the number of faces of a comparison that count."""
        return comparison.clear_faces if self._uses_clear_faces(comparison) else comparison.faces

    def get_label_agreement(self, comparison: Comparison) -> float:
        """Return the share of equal labels among the faces that count, 0 to 1."""
        if self._uses_clear_faces(comparison):
            return comparison.clear_label_agreement
        return comparison.label_agreement

    def _uses_clear_faces(self, comparison: Comparison) -> bool:
        return self.only_clear_labels and comparison.clear_faces > 0


# By precision. fp16 and int8 change every logit a little, so the labels decide.
GATES = {
    "fp32": Gate(),
    "fp16": Gate(None, 0.999, only_clear_labels=True),
    "int8": Gate(None, 0.99, only_clear_labels=True),
}


@dataclass(frozen=True)
class Comparison:
    """One way to run a graph, compared with PyTorch.

    Attributes:
        stage: The graph: ``converted``, ``simplified``, ``fp16`` or ``int8``; the ``file`` as the
            device opens it, the same with two ``threads``, or with the ``pictures`` as the device
            reads them.
        optimisation: Graph optimisation of onnxruntime, ``off`` or ``full``.
        batch_size: Faces in a batch.
        faces: Number of faces.
        max_logit_difference, mean_logit_difference: Of the absolute differences.
        max_probability_difference, mean_probability_difference: The same for probabilities, 0
            to 1.
        label_agreement: Share of equal labels, 0 to 1; ``other`` is one of the labels.
        max_other_difference: Largest absolute difference of the output `other`; None without
            this output.
        clear_faces: Number of faces with a clear label in PyTorch.
        clear_label_agreement: Share of equal labels among these, 0 to 1; 1 if there are none.
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
        """Return whether the comparison is within the limits; NaN never is."""
        allowed = np.inf if gate.logit_difference is None else gate.logit_difference
        other = 0.0 if self.max_other_difference is None else self.max_other_difference
        faces = gate.count_faces(self)
        equal_labels = round(gate.get_label_agreement(self) * faces)
        return (
            self.max_logit_difference <= allowed
            and other <= allowed
            and equal_labels >= min_agreeing_labels(faces, gate.label_agreement)
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
        """Return JSON values, with differences rounded to three significant digits."""
        return {
            name: float(f"{value:.3g}") if name.endswith("_difference") else value
            for name, value in asdict(self).items()
            if value is not None
        }


class ParityError(ExportError):
    """A graph or file and PyTorch differ by more than allowed.

    Attributes:
        comparisons: All comparisons until then.
    """

    def __init__(self, message: str, comparisons: Sequence[Comparison] = ()) -> None:
        super().__init__(message)
        self.comparisons = tuple(comparisons)


class Reference:
    """PyTorch's outputs for the faces of the parity check, to compare graphs with.

    Args:
        network: Takes uint8 (batch, 1, size, size), returns logits.
        temperature: Logits are divided by it before softmax.
        faces: uint8, shape (n, size, size).
        subset: The classes that the file keeps; None for all.
        other_threshold: From this value of the output `other` on, the label is ``other``; None
            without this output.
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
        self.logits, self.probabilities, self.other = subset.compute_outputs(logits, temperature)
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
        max_faces: int | None = None,
    ) -> Comparison:
        """Run `infer` on the faces and compare its outputs with PyTorch's.

        Args:
            infer: Runs a batch.
            stage: Name of the graph, for the result.
            optimisation: Name of the graph optimisation, for the result.
            batch_size: Faces in a batch.
            max_faces: Largest number of faces to compare, evenly spread; None for all.

        Raises:
            ParityError: The outputs have another shape, or `other` is missing or superfluous.
        """
        total = len(self.faces)
        count = total if max_faces is None else min(max_faces, total)
        chosen = np.arange(count) * total // count
        outputs = run_in_batches(infer, self.faces[chosen], batch_size)
        logits, probabilities, other = outputs
        wanted = (count, self.logits.shape[1])
        if logits.shape != wanted or probabilities.shape != wanted:
            raise ParityError(
                f"the {stage} graph returns logits of shape {logits.shape}, PyTorch {wanted}."
            )
        logit_gap = np.abs(logits.astype(np.float64) - self.logits[chosen])
        probability_gap = np.abs(probabilities - self.probabilities[chosen])
        if (other is None) != (self.other is None):
            raise ParityError(f"the {stage} graph does not have the outputs that it must have.")
        other_gap = None
        if other is not None and self.other is not None:
            other_gap = float(np.abs(other - self.other[chosen]).max())
        # On the device, the probabilities decide the label.
        same = outputs.decide(self.other_threshold) == self.labels[chosen]
        clear = same[self.clear[chosen]]
        return Comparison(
            stage=stage,
            optimisation=optimisation,
            batch_size=batch_size,
            faces=count,
            max_logit_difference=float(logit_gap.max()),
            mean_logit_difference=float(logit_gap.mean()),
            max_probability_difference=float(probability_gap.max()),
            mean_probability_difference=float(probability_gap.mean()),
            label_agreement=float(same.mean()),
            max_other_difference=other_gap,
            clear_faces=len(clear),
            clear_label_agreement=float(clear.mean()) if len(clear) else 1.0,
        )

    def find_missing_labels(self, labels: Sequence[str]) -> list[str]:
        """Return the labels that the network gives to none of the faces, in label order.

        A comparison on these faces does not cover them.
        """
        given = set(self.labels.tolist())
        return [name for index, name in enumerate(labels) if index not in given]

    def compare_graph(
        self, model: bytes, stage: str, on_step: Callable[[], None] = lambda: None
    ) -> list[Comparison]:
        """Compare a serialised graph at every batch size and optimisation level.

        All faces are compared at the largest batch size, and at most
        `MAX_FACES_IN_SMALL_BATCHES` at the other sizes.

        Args:
            model: The graph, as the bytes of an ONNX file.
            stage: Name of the graph, for the results.
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
                    infer = infer or open_graph(model, optimisation)
                    comparisons.append(self.compare(infer, stage, optimisation, batch_size, most))
                except ParityError:
                    raise
                except Exception as error:  # onnxruntime's errors share no public base
                    raise ParityError(
                        f"onnxruntime cannot run the {stage} graph at batch {batch_size} "
                        f"({format_reason(error)}).",
                        comparisons,
                    ) from error
                on_step()
        return comparisons


def run_in_batches(infer: Infer, faces: Pixels, batch_size: int = max(BATCH_SIZES)) -> Outputs:
    """Run faces, uint8 (n, size, size), batch by batch, and return all outputs."""
    starts = range(0, len(faces), batch_size)
    parts = [infer(faces[start : start + batch_size, np.newaxis]) for start in starts]
    others = [part.other for part in parts if part.other is not None]
    return Outputs(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate(others) if others else None,
    )


def open_graph(model: bytes, optimisation: str, threads: int = 0) -> Infer:
    """Open a graph in onnxruntime and return a function that runs a batch.

    Args:
        model: The bytes of an ONNX file.
        optimisation: Graph optimisation, ``off`` or ``full``.
        threads: Number of threads; 0 lets onnxruntime choose.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_DISABLE_ALL if optimisation == "off" else levels.ORT_ENABLE_ALL
    )
    options.intra_op_num_threads = threads
    # Threads that spin between small batches would need more CPU time than the batches.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # no messages: errors are raised
    session = onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )

    given = [output.name for output in session.get_outputs()]
    names = [*OUTPUT_NAMES, *([OTHER_NAME] if OTHER_NAME in given else [])]

    def infer(pixels: Pixels) -> Outputs:
        return Outputs(*session.run(names, {INPUT_NAME: pixels}))

    return infer


def require_parity(comparisons: Sequence[Comparison], gate: Gate) -> None:
    """Require that all comparisons are within the limits.

    Raises:
        ParityError: At least one is not; the message has the figures of the worst.
    """
    failed = [one for one in comparisons if not one.passes(gate)]
    if not failed:
        return
    # NaN counts as the worst; `max` alone would not find it.
    worst = max(
        failed,
        key=lambda one: (
            np.isnan(one.max_logit_difference),
            1.0 - gate.get_label_agreement(one),
            one.max_logit_difference,
        ),
    )
    allowed = "any" if gate.logit_difference is None else f"{gate.logit_difference:.0e}"
    faces, agreement = gate.count_faces(worst), gate.get_label_agreement(worst)
    clear = " with a clear label" if gate.only_clear_labels and worst.clear_faces else ""
    raise ParityError(
        f"the {worst.stage} graph does not compute what PyTorch computes: largest logit difference "
        f"{worst.max_logit_difference:.2e} (allowed {allowed}), label agreement {agreement:.2%} "
        f"on {faces:,} faces{clear} (required {gate.label_agreement:.2%}), at batch "
        f"{worst.batch_size} with optimisation {worst.optimisation}.",
        comparisons,
    )
