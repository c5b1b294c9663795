"""From a trained network to an ONNX graph that takes pixels and gives probabilities."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from emotion_export.errors import ConversionError, reason_of
from emotion_export.graph.silence import silence
from emotion_export.label_subset.subset import LabelSubset
from emotion_runtime.model.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES
from emotion_runtime.pictures.preprocessing import FACE_SIZE

# The lowest opset that torch's exporter writes itself, without the converter behind it. Its
# lowest IR version is 8, which onnxruntime reads since 1.14 (early 2023).
DEFAULT_OPSET = 18


class SelfContained(nn.Module):
    """A network with everything that a client would otherwise have to know: scaling and softmax."""

    def __init__(
        self, network: nn.Module, temperature: float, subset: LabelSubset | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.subset = subset if subset is not None and subset.dropped else None
        if self.subset is not None:
            self.register_buffer("kept", torch.tensor(self.subset.kept))
            self.register_buffer("dropped", torch.tensor(self.subset.dropped))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Map pixels uint8 (batch, 1, size, size) to logits and probabilities (batch, labels).

        Where classes are dropped, `other`, shape (batch,), comes third.
        """
        logits = self.network(pixels)
        if self.subset is None:
            return logits, torch.softmax(logits / self.temperature, dim=1)
        named = logits.index_select(1, self.get_buffer("kept"))
        shares = torch.softmax(logits / self.temperature, dim=1)
        # The sum of what is dropped: 1 less what is kept would be off by the rounding of 1.
        other = shares.index_select(1, self.get_buffer("dropped")).sum(dim=1)
        return named, torch.softmax(named / self.temperature, dim=1), other.clamp(max=1.0)


def convert(
    network: nn.Module,
    temperature: float = 1.0,
    *,
    size: int = FACE_SIZE,
    opset: int = DEFAULT_OPSET,
    subset: LabelSubset | None = None,
) -> onnx.ModelProto:
    """Convert a network to ONNX, with a dynamic batch and the contract's names.

    Args:
        network: Takes uint8 (batch, 1, size, size), gives logits float32 (batch, classes).
        temperature: Logits are divided by it before softmax.
        size: Side of the faces, in pixels.
        opset: The operator set; the lowest IR version that serves it is written.
        subset: Which classes the file keeps; the others become the output `other`. None for all.

    Raises:
        ConversionError: The network has something that does not export, or not in this opset.
    """
    whole = SelfContained(network, temperature, subset).eval()
    names = (*OUTPUT_NAMES, *([OTHER_NAME] if whole.subset is not None else []))
    # Two pictures: with one, torch takes the batch for a constant.
    example = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    try:
        with silence():
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=list(names),
                dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever any operator raises
        raise ConversionError(
            f"the network cannot be converted to ONNX ({reason_of(error)})."
        ) from error
    if program is None:
        raise ConversionError("the network cannot be converted to ONNX (torch gave no program).")
    model = program.model_proto
    if opset_of(model) != opset:
        # The exporter goes on with another opset where its version converter fails.
        raise ConversionError(
            f"the network cannot be written in opset {opset}, only in {opset_of(model)}; "
            f"leave --opset out, or choose {DEFAULT_OPSET} or higher."
        )
    _strip(model)
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operator set that a model uses."""
    return next(
        int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")
    )


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes at every node: stack traces with the paths of this machine."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
