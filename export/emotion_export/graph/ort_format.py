"""onnxruntime's own format, for builds reduced to the operators that a model needs.

Loading it needs no ONNX parser and no optimiser; the list of operators goes to onnxruntime's
build (``--include_ops_by_config``). Written by onnxruntime's own tool.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from emotion_export.errors import ConversionError, reason_of
from emotion_export.graph.silence import silence
from emotion_export.parity.comparison import Comparison, Gate, Reference
from emotion_export.parity.faces import ParityFaces
from emotion_export.parity.file import prove_file
from emotion_runtime.atomic import write_atomically
from emotion_runtime.model.session import import_onnxruntime

OPERATORS = ".required_operators.config"


def write_ort(
    model: Path, reference: Reference, faces: ParityFaces, gate: Gate
) -> tuple[Path, list[Comparison]]:
    """Write ``MODEL.ort`` and its list of operators beside a proven ``MODEL.onnx``.

    Returns:
        The file, and the figures of its own proof.

    Raises:
        ConversionError: onnxruntime's tool failed.
        ParityError: The file does not answer as PyTorch does.
    """
    import_onnxruntime()  # before its parts, so that its telemetry is off
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
        except Exception as error:  # a tool with errors of its own
            raise ConversionError(
                f"{model}: cannot be written as .ort ({reason_of(error)})."
            ) from error
        converted = Path(folder) / target.name
        comparisons = prove_file(converted, reference, faces, gate)
        operators = (Path(folder) / "required_operators.config").read_text(encoding="utf-8")
        with write_atomically(target) as temporary:
            shutil.copyfile(converted, temporary)
    with write_atomically(model.with_suffix(OPERATORS)) as temporary:
        # The first lines name the file with its path on this machine.
        kept = [line for line in operators.splitlines() if not line.startswith("#")]
        temporary.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return target, comparisons
