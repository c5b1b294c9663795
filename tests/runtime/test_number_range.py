"""NaN and infinity are refused as the value of every option that takes a number."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from emotion_runtime.command_line.commands import NumberRange
from emotion_runtime.evaluate.cli import main as evaluate
from emotion_runtime.infer.cli import main as infer


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    with pytest.raises(click.BadParameter):
        NumberRange(0, min_open=True).convert(number, None, None)


@pytest.mark.parametrize("command", [infer, evaluate])
def test_commands_have_no_range_that_lets_nan_pass(command: click.Command) -> None:
    ranges = [option.type for option in command.params if isinstance(option.type, click.FloatRange)]
    assert ranges
    assert all(isinstance(one, NumberRange) for one in ranges)


@pytest.mark.parametrize("option", ["--threads", "--workers"])
@pytest.mark.parametrize("number", ["0", "1025", "99999999999999999999"])
def test_counts_of_threads_have_a_limit(option: str, number: str) -> None:
    """More threads than that stop onnxruntime from starting, or overflow its number."""
    result = CliRunner().invoke(infer, [option, number, "--self-test"])
    assert result.exit_code == 2
    assert f"{number} is not in the range 1<=x<=1024" in result.output


def test_detection_threshold_nan_is_wrong_usage() -> None:
    result = CliRunner().invoke(infer, ["--faces", ".", "--detection-threshold", "nan"])
    assert result.exit_code == 2
    assert "nan is not a finite number" in result.output
