"""Simplification: constants folded and dead ends cut by onnxsim; parity is proven after it."""

from __future__ import annotations

from collections import Counter

import onnx

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


def count_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Count the nodes of a graph by operator, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())
