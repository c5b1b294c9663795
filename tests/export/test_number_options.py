"""NaN as a limit of the export would switch its comparison off."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from emotion_export.cli import main


@pytest.mark.parametrize(
    "option",
    [
        "--allow-label-agreement",
        "--allow-accuracy-loss",
        "--allow-recall-loss",
        "--other-coverage",
    ],
)
def test_nan_is_wrong_usage(option: str) -> None:
    result = CliRunner().invoke(main, ["model.onnx", option, "nan"])
    assert result.exit_code == 2
    assert "nan is not a finite number" in result.output
