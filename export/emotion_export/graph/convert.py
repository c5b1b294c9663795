"""Convert a trained network to an ONNX graph from pixels to probabilities."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from emotion_export import defaults
from emotion_export.errors import ConversionError
from emotion_export.graph.silence import silence
from emotion_export.label_subset.subset import LabelSubset
from emotion_runtime.errors import format_reason
from emotion_runtime.model.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES
from emotion_runtime.pictures.preprocessing import FACE_SIZE


class SelfContainedNetwork(nn.Module):
    """A network with softmax, temperature and the output `other`, so that a client needs none."""

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

        If classes are dropped, `other`, shape (batch,), is the third output.
        """
        logits = self.network(pixels)
        if self.subset is None:
            return logits, torch.softmax(logits / self.temperature, dim=1)
        named = logits.index_select(1, self.get_buffer("kept"))
        shares = torch.softmax(logits / self.temperature, dim=1)
        # The sum of the dropped classes; 1 minus the kept ones would lose digits near 0.
        other = shares.index_select(1, self.get_buffer("dropped")).sum(dim=1)
        return named, torch.softmax(named / self.temperature, dim=1), other.clamp(max=1.0)


def convert(
    network: nn.Module,
    temperature: float = 1.0,
    *,
    size: int = FACE_SIZE,
    opset: int = defaults.OPSET,
    subset: LabelSubset | None = None,
) -> onnx.ModelProto:
    """Convert a network to ONNX, with a dynamic batch size and the names of the contract.

    Args:
        network: Takes uint8 (batch, 1, size, size), returns logits float32 (batch, classes).
        temperature: Logits are divided by it before softmax.
        size: Side of the faces, in pixels.
        opset: ONNX operator set. The graph gets the lowest IR version for it.
        subset: The classes that the file keeps; the others become the output `other`. None for all.

    Raises:
        ConversionError: The network cannot be exported, or not in this opset.
    """
    module = SelfContainedNetwork(network, temperature, subset).eval()
    names = (*OUTPUT_NAMES, *([OTHER_NAME] if module.subset is not None else []))
    # Two pictures: with one, torch would make the batch size a constant.
    example = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    try:
        with silence():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=list(names),
                dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # operators raise errors of any kind
        raise ConversionError(
            f"the network cannot be converted to ONNX ({format_reason(error)})."
        ) from error
    if program is None:
        raise ConversionError("the network cannot be converted to ONNX (no result of torch).")
    model = program.model_proto
    if get_opset(model) != opset:
        # The exporter keeps another opset if its version converter fails.
        raise ConversionError(
            f"the network cannot be written in opset {opset}, only in {get_opset(model)}; "
            f"leave --opset out, or choose {defaults.OPSET} or higher."
        )
    _strip_notes(model)
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    return model


def get_opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard ONNX operator set that a model uses."""
    return next(
        int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")
    )


def _strip_notes(model: onnx.ModelProto) -> None:
    """Remove the notes of the exporter: stack traces with paths of this machine."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
