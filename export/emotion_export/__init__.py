"""Export a checkpoint to an ONNX file that passed a parity check with PyTorch.

>>> from emotion_export import export_module
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion_export.errors import ExportError
    from emotion_export.export import ExportResult, Plan
    from emotion_export.module import export_module

__all__ = ["ExportError", "ExportResult", "Plan", "export_module"]

_MODULES = {
    "ExportError": "errors",
    "ExportResult": "export",
    "Plan": "export",
    "export_module": "module",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that the commands start without torch and onnx."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
