"""fp16 by onnxruntime's own converter: half the file; inputs and outputs stay as they are."""

from __future__ import annotations

import onnx

from emotion_export.errors import ConversionError, reason_of
from emotion_runtime.model.session import import_onnxruntime

# Sums of squared pixels leave the range of a half float.
_IN_FLOAT = ["InstanceNormalization"]


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn weights and activations to float16.

    Raises:
        ConversionError: The converter failed.
    """
    import_onnxruntime()  # before its parts, so that its telemetry is off
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    try:
        half = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_IN_FLOAT]
        )
    except Exception as error:  # a library with errors of its own behind it
        raise ConversionError(
            f"the graph cannot be turned to fp16 ({reason_of(error)})."
        ) from error
    half.ir_version = model.ir_version
    return half  # type: ignore[no-any-return]
