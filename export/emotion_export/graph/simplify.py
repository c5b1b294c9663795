"""Simplify graphs with onnxsim, which folds constants and removes unused nodes."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import numpy_helper

from emotion_export.errors import ConversionError
from emotion_runtime.errors import format_reason
from emotion_runtime.model.session import import_onnxruntime

import_onnxruntime()  # before onnxsim imports it, to turn its telemetry off
import onnxsim  # noqa: E402


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a smaller graph that computes the same, with the same IR version and opset.

    Raises:
        ConversionError: onnxsim failed, or its own check did.
    """
    try:
        simplified, same = onnxsim.simplify(model)
    except Exception as error:  # the C++ library raises errors of any kind
        raise ConversionError(
            f"onnxsim failed on the graph ({format_reason(error)}); --no-simplify skips it."
        ) from error
    if not same:
        raise ConversionError("onnxsim changed what the graph computes; --no-simplify skips it.")
    simplified.ir_version = model.ir_version
    return simplified  # type: ignore[no-any-return]


def is_same_graph(first: onnx.ModelProto, second: onnx.ModelProto) -> bool:
    """Return whether two graphs have the same operators on the same tensors with the same values.

    Annotations, such as the shapes of intermediate tensors, may differ.
    """
    ends = ("node", "input", "output")
    if any(list(getattr(first.graph, end)) != list(getattr(second.graph, end)) for end in ends):
        return False
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (first, second)
    )
    return before.keys() == after.keys() and all(
        # As bytes: NaN equals itself, and 0.0 differs from -0.0.
        array.dtype == after[name].dtype
        and array.shape == after[name].shape
        and array.tobytes() == after[name].tobytes()
        for name, array in before.items()
    )


def count_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of nodes by operator, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())
