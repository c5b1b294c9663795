"""Write onnxruntime's own format, for builds with only the operators that a model needs.

It loads without the ONNX parser and the optimiser. The list of operators is an input of
onnxruntime's build (``--include_ops_by_config``). onnxruntime's tool writes both.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from emotion_export.errors import ConversionError
from emotion_export.graph.silence import silence
from emotion_export.parity.comparison import Comparison, Gate, Reference
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.file import verify_file
from emotion_runtime.atomic import write_atomically
from emotion_runtime.errors import format_reason
from emotion_runtime.model.session import import_onnxruntime

OPERATORS_SUFFIX = ".required_operators.config"


def write_ort(
    model: Path, reference: Reference, faces: ParityFaces, gate: Gate
) -> tuple[Path, list[Comparison]]:
    """Write ``MODEL.ort`` and its list of operators beside ``MODEL.onnx``, and verify it.

    Args:
        model: The verified ``MODEL.onnx``.
        reference: PyTorch's outputs.
        faces: The faces that these outputs belong to.
        gate: Limits of the parity check.

    Returns:
        The file and its comparisons with PyTorch.

    Raises:
        ConversionError: onnxruntime's tool failed.
        ParityError: The file does not compute what PyTorch computes.
        OutputError: A file cannot be written.
    """
    import_onnxruntime()  # first, which turns its telemetry off
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    target = model.with_suffix(".ort")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(model, Path(folder) / model.name)
        try:
            with silence():
                convert_onnx_models_to_ort(
                    Path(folder), optimization_styles=[OptimizationStyle.Fixed]
                )
        except Exception as error:  # the tool raises errors of any kind
            raise ConversionError(
                f"{model}: cannot be written as .ort ({format_reason(error)})."
            ) from error
        converted = Path(folder) / target.name
        comparisons = verify_file(converted, reference, faces, gate)
        operators = (Path(folder) / "required_operators.config").read_text(encoding="utf-8")
        with write_atomically(target) as temporary:
            shutil.copyfile(converted, temporary)
    with write_atomically(model.with_suffix(OPERATORS_SUFFIX)) as temporary:
        # The comments at the top contain the path of the file on this machine.
        kept = [line for line in operators.splitlines() if not line.startswith("#")]
        temporary.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return target, comparisons
