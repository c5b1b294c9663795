"""An export replaces files only with --overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from emotion_export.errors import ExportError
from emotion_export.export import check_target


@pytest.mark.parametrize(
    "name", ["m.onnx", "m.parity.json", "m.export.md", "m.export.png", "m.ort"]
)
def test_a_report_beside_the_file_is_not_replaced_by_default(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ExportError, match=f"{name}: exists already; --overwrite replaces it"):
        check_target(tmp_path / "m.onnx", overwrite=False, ort=True)
    check_target(tmp_path / "m.onnx", overwrite=True, ort=True)
    if name == "m.ort":  # not written by this export
        check_target(tmp_path / "m.onnx", overwrite=False)
