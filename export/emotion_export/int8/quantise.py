"""int8 by onnxruntime's own static quantisation: QDQ, per channel, calibrated on real faces.

Activations are uint8 and weights int8 of seven bits: a product of the two added in pairs stays
under 2¹⁵ (255 · 63 · 2), so that no CPU saturates, not even an x86-64 without VNNI or an old ARM,
and every device gives the answers that were proven here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from emotion_export.errors import ConversionError, reason_of
from emotion_export.graph.silence import silence
from emotion_runtime.model.contract import INPUT_NAME
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures.preprocessing import Pixels

import_onnxruntime()  # before its parts, so that its telemetry is off
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

# What carries the arithmetic, and what lies between; scaling and softmax stay in float.
_OPERATORS = ["Conv", "Gemm", "MatMul", "Relu", "MaxPool", "Reshape"]
# Their sums are integers; the outputs are scaled to float without a rounding to eight bits. On a
# grid of 255 steps, two logits would often be equal, and the label that of the first class.
_OUTPUTS_IN_FLOAT = ["Gemm", "MatMul"]
_BATCH = 64


def quantise(
    model: onnx.ModelProto, faces: Pixels, method: str, *, in_float: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantise weights and activations to eight bits; inputs and outputs stay as they are.

    Args:
        model: A float graph that was `prepared`.
        faces: uint8, shape (n, size, size); ranges are taken from what they make of the network.
        method: A name in `METHODS`, how a range is chosen from the values seen.
        in_float: Names of nodes that are left as they are.

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
                _Faces(faces),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                nodes_to_exclude=[*in_float, *_first_layers(model)],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=METHODS[method],
                extra_options={"OpTypesToExcludeOutputQuantization": _OUTPUTS_IN_FLOAT},
            )
        except Exception as error:  # a library with errors of its own behind it
            raise ConversionError(f"the graph cannot be quantised ({reason_of(error)}).") from error
        quantised = onnx.load(target)
    quantised.ir_version = model.ir_version
    used = {node.domain or "" for node in quantised.graph.node}
    for entry in [entry for entry in quantised.opset_import if entry.domain not in used]:
        quantised.opset_import.remove(entry)  # declared, but not needed: an old runtime may lack it
    quantised.doc_string = ""
    del quantised.metadata_props[:]
    return quantised


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes and fuse what onnxruntime would fuse, so that it is quantised as one.

    Raises:
        ConversionError: onnxruntime cannot read the graph.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        source, target = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        try:
            onnx.save(model, source)
            quant_pre_process(source, target, skip_symbolic_shape=True)
        except Exception as error:  # as above
            raise ConversionError(f"the graph cannot be quantised ({reason_of(error)}).") from error
        whole = onnx.load(target)
    whole.ir_version = model.ir_version
    return whole


def _first_layers(model: onnx.ModelProto) -> list[str]:
    """Name the convolutions of one channel: integer kernels are many times slower on them."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and weights.get(node.input[1], (0, 0))[1] == 1
    ]


def hardest_nodes(model: onnx.ModelProto, quantised: onnx.ModelProto, faces: Pixels) -> list[str]:
    """Order the nodes by what quantisation does to their output, the worst first.

    The measure is onnxruntime's signal-to-noise ratio of each activation, `model` (float, and
    `prepared`) against `quantised`.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        seen = []
        for name, graph in (("float", model), ("int8", quantised)):
            plain, tapped = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}-tapped.onnx"
            onnx.save(graph, plain)
            modify_model_output_intermediate_tensors(str(plain), str(tapped))
            seen.append(collect_activations(str(tapped), _Faces(faces[:_BATCH])))
        errors = compute_activation_error(create_activation_matching(seen[1], seen[0]))
    ratios = {name: float(np.mean(error["xmodel_err"])) for name, error in errors.items()}
    quantisable = [
        (ratios[node.output[0]], node.name)
        for node in model.graph.node
        if node.op_type in _OPERATORS and node.output[0] in ratios
    ]
    return [name for _, name in sorted(quantisable)]


class _Faces(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Gives faces batch by batch, as onnxruntime's calibration asks for them."""

    def __init__(self, faces: Pixels) -> None:
        size = min(_BATCH, len(faces))
        # Whole batches alone, since the histograms want them alike; mixed, so that the few faces
        # left over are not all of one class.
        order = np.random.default_rng(0).permutation(len(faces))[: len(faces) // size * size]
        self._batches = iter(
            [{INPUT_NAME: faces[part, np.newaxis]} for part in order.reshape(-1, size)]
        )

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)
