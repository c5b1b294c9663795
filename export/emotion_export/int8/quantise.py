"""Quantise a graph to int8 with onnxruntime: static, QDQ, per channel, calibrated on real faces.

Activations are uint8, and weights int8 with seven bits: the sum of two products stays below 2¹⁵
(255 · 63 · 2), so no CPU saturates, not even an x86-64 without VNNI or an old ARM. Every device
computes the outputs that were verified here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from emotion_export.errors import ConversionError
from emotion_export.graph.silence import silence
from emotion_runtime.errors import format_reason
from emotion_runtime.model.contract import INPUT_NAME
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures.preprocessing import Pixels

import_onnxruntime()  # first, which turns its telemetry off
from onnxruntime.quantization import (  # noqa: E402
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.qdq_loss_debug import (  # noqa: E402
    collect_activations,
    compute_activation_error,
    create_activation_matching,
    modify_model_output_intermediate_tensors,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

# The operators with most of the arithmetic and those between them. Scaling and softmax stay in
# float.
_OPERATORS = ["Conv", "Gemm", "MatMul", "Relu", "MaxPool", "Reshape"]
# Their outputs are scaled to float without rounding to eight bits. With 255 steps, two logits would
# often be equal, and the label would be that of the first class.
_OPERATORS_WITH_FLOAT_OUTPUT = ["Gemm", "MatMul"]
_BATCH_SIZE = 64


def quantise(
    model: onnx.ModelProto, faces: Pixels, method: str, *, in_float: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantise weights and activations to eight bits; inputs and outputs do not change.

    Args:
        model: A float graph from `prepare_graph`.
        faces: uint8, shape (n, size, size); their activations calibrate the ranges.
        method: A name in `METHODS`: how a range is chosen from the activations.
        in_float: Names of nodes that stay in float.

    Raises:
        ConversionError: onnxruntime cannot quantise the graph.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        try:
            onnx.save(model, source)
            quantize_static(
                source,
                target,
                _CalibrationReader(faces),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                nodes_to_exclude=[*in_float, *_find_single_channel_convolutions(model)],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=METHODS[method],
                extra_options={"OpTypesToExcludeOutputQuantization": _OPERATORS_WITH_FLOAT_OUTPUT},
            )
        except Exception as error:  # the library raises errors of any kind
            raise ConversionError(
                f"the graph cannot be quantised ({format_reason(error)})."
            ) from error
        quantised = onnx.load(target)
    quantised.ir_version = model.ir_version
    used = {node.domain or "" for node in quantised.graph.node}
    for entry in [entry for entry in quantised.opset_import if entry.domain not in used]:
        quantised.opset_import.remove(entry)  # unused; an old runtime may not know it
    quantised.doc_string = ""
    del quantised.metadata_props[:]
    return quantised


def prepare_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes and fuse nodes as onnxruntime does, so that they are quantised as one.

    Raises:
        ConversionError: onnxruntime cannot read the graph.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        source, target = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        try:
            onnx.save(model, source)
            quant_pre_process(source, target, skip_symbolic_shape=True)
        except Exception as error:  # see above
            raise ConversionError(
                f"the graph cannot be quantised ({format_reason(error)})."
            ) from error
        prepared = onnx.load(target)
    prepared.ir_version = model.ir_version
    return prepared


def _find_single_channel_convolutions(model: onnx.ModelProto) -> list[str]:
    """Return the convolutions with one input channel, for which integer kernels are far slower."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and weights.get(node.input[1], (0, 0))[1] == 1
    ]


def rank_nodes_by_error(
    model: onnx.ModelProto, quantised: onnx.ModelProto, faces: Pixels
) -> list[str]:
    """Return the names of the nodes by their quantisation error, the largest first.

    The error is onnxruntime's signal-to-noise ratio of the activations.

    Args:
        model: The float graph from `prepare_graph`.
        quantised: The int8 graph.
        faces: uint8, shape (n, size, size).
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        activations = []
        for name, graph in (("float", model), ("int8", quantised)):
            plain, probed = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}-probed.onnx"
            onnx.save(graph, plain)
            modify_model_output_intermediate_tensors(str(plain), str(probed))
            activations.append(
                collect_activations(str(probed), _CalibrationReader(faces[:_BATCH_SIZE]))
            )
        errors = compute_activation_error(
            create_activation_matching(activations[1], activations[0])
        )
    ratios = {name: float(np.mean(error["xmodel_err"])) for name, error in errors.items()}
    quantisable = [
        (ratios[node.output[0]], node.name)
        for node in model.graph.node
        if node.op_type in _OPERATORS and node.output[0] in ratios
    ]
    return [name for _, name in sorted(quantisable)]


class _CalibrationReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Returns faces batch by batch to onnxruntime's calibration."""

    def __init__(self, faces: Pixels) -> None:
        size = min(_BATCH_SIZE, len(faces))
        # Only full batches, because the histograms need equal ones. Shuffled, so that the faces
        # left over are not all of one class.
        order = np.random.default_rng(0).permutation(len(faces))[: len(faces) // size * size]
        self._batches = iter(
            [{INPUT_NAME: faces[part, np.newaxis]} for part in order.reshape(-1, size)]
        )

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)
