"""Convert a graph to fp16 with onnxruntime's converter; inputs and outputs do not change."""

from __future__ import annotations

import onnx

from emotion_export.errors import ConversionError
from emotion_runtime.errors import format_reason
from emotion_runtime.model.session import import_onnxruntime

# Its sums of squared pixels exceed the range of float16.
_FLOAT_OPERATORS = ["InstanceNormalization"]


def convert_to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert weights and activations to float16.

    Raises:
        ConversionError: The converter failed.
    """
    import_onnxruntime()  # first, which turns its telemetry off
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    try:
        half = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_FLOAT_OPERATORS]
        )
    except Exception as error:  # the library raises errors of any kind
        raise ConversionError(
            f"the graph cannot be converted to fp16 ({format_reason(error)})."
        ) from error
    half.ir_version = model.ir_version
    return half  # type: ignore[no-any-return]
