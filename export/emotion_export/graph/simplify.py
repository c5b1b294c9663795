"""Simplification: constants folded and dead ends cut by onnxsim; parity is checked after it."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import numpy_helper

from emotion_export.errors import ConversionError, reason_of
from emotion_runtime.model.session import import_onnxruntime

import_onnxruntime()  # before onnxsim, which imports it too, so that its telemetry is off
import onnxsim  # noqa: E402


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a smaller graph that computes the same; IR version and opset stay.

    Raises:
        ConversionError: onnxsim's own check failed.
    """
    try:
        simplified, same = onnxsim.simplify(model)
    except Exception as error:  # a C++ library behind: anything may come
        raise ConversionError(
            f"onnxsim failed on the graph ({reason_of(error)}); --no-simplify goes without it."
        ) from error
    if not same:
        raise ConversionError(
            "onnxsim changed what the graph computes; --no-simplify goes without it."
        )
    simplified.ir_version = model.ir_version
    return simplified  # type: ignore[no-any-return]


def is_same_graph(first: onnx.ModelProto, second: onnx.ModelProto) -> bool:
    """Return whether two graphs have the same operators on the same tensors with the same values.

    What they note beside, such as the shapes of tensors in between, may differ.
    """
    ends = ("node", "input", "output")
    if any(list(getattr(first.graph, end)) != list(getattr(second.graph, end)) for end in ends):
        return False
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (first, second)
    )
    return before.keys() == after.keys() and all(
        # Bytes, so that NaN equals itself and 0.0 is not -0.0.
        array.dtype == after[name].dtype
        and array.shape == after[name].shape
        and array.tobytes() == after[name].tobytes()
        for name, array in before.items()
    )


def count_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Count the nodes of a graph by operator, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())
