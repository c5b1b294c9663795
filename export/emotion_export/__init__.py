"""Export: a checkpoint in, an ONNX file out that was compared with PyTorch before it exists.

>>> from emotion_export import export_module
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion_export.errors import ExportError
    from emotion_export.export import Exported, Plan
    from emotion_export.module import export_module

__all__ = ["ExportError", "Exported", "Plan", "export_module"]

_HOMES = {
    "ExportError": "errors",
    "Exported": "export",
    "Plan": "export",
    "export_module": "module",
}


def __getattr__(name: str) -> Any:
    """Import torch and onnx with the first name that needs them: the commands start without."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
