"""From a trained network to an ONNX graph that takes pixels and gives probabilities."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from emotion_export.errors import ConversionError, reason_of
from emotion_export.graph.silence import silence
from emotion_runtime.model.contract import INPUT_NAME, OUTPUT_NAMES
from emotion_runtime.pictures.preprocessing import FACE_SIZE

# The lowest opset that torch's exporter writes itself, without the converter behind it. Its
# lowest IR version is 8, which onnxruntime reads since 1.14 (early 2023).
DEFAULT_OPSET = 18


class SelfContained(nn.Module):
    """A network with everything that a client would otherwise have to know: scaling and softmax."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map pixels uint8 (batch, 1, size, size) to logits and probabilities (batch, classes)."""
        logits = self.network(pixels)
        return logits, torch.softmax(logits / self.temperature, dim=1)


def convert(
    network: nn.Module,
    temperature: float = 1.0,
    *,
    size: int = FACE_SIZE,
    opset: int = DEFAULT_OPSET,
) -> onnx.ModelProto:
    """Convert a network to ONNX, with a dynamic batch and the contract's names.

    Args:
        network: Takes uint8 (batch, 1, size, size), gives logits float32 (batch, classes).
        temperature: Logits are divided by it before softmax.
        size: Side of the faces, in pixels.
        opset: The operator set; the lowest IR version that serves it is written.

    Raises:
        ConversionError: The network has something that does not export, or not in this opset.
    """
    whole = SelfContained(network, temperature).eval()
    # Two pictures: with one, torch takes the batch for a constant.
    example = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    try:
        with silence():
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=list(OUTPUT_NAMES),
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
