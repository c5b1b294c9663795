"""The limits in SECURITY.md are those of the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from emotion_runtime.pictures.formats import FORMAT_NAMES
from emotion_runtime.pictures.limits import PIXEL_LIMIT_VARIABLE

POLICY = Path(__file__).parents[2] / "SECURITY.md"
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
ROW = re.compile(r"^\| .* \| ([\d,.]+) ?(\w*) \| `(emotion_\w+\.[\w.]+)\.(\w+)` \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall(POLICY.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("number", "unit", "module", "name"), rows(), ids=lambda value: value)
def test_the_limit_equals_the_constant_in_the_code(
    number: str, unit: str, module: str, name: str
) -> None:
    value = getattr(importlib.import_module(module), name)
    assert float(number.replace(",", "")) * UNITS[unit] == value


def test_every_limit_in_the_table_is_tested() -> None:
    table = POLICY.read_text(encoding="utf-8").partition("## Limits")[2].partition("\n## ")[0]
    assert len(rows()) == len([line for line in table.splitlines() if line.startswith("| ")]) - 2
    assert len(rows()) > 25


def test_the_page_has_the_limits_of_the_runtime() -> None:
    from emotion_runtime import labels
    from emotion_runtime.model import contract

    page = Path(importlib.import_module("emotion_export").__file__ or "").parent / "page"
    script = (page / "contract.js").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^const (MAX_\w+) = (\d+);", script, re.MULTILINE))
    assert {name: int(value) for name, value in stated.items()} == {
        "MAX_SIZE": contract.MAX_SIDE_PIXELS,
        "MAX_GOLDEN_INPUTS": contract.MAX_GOLDEN_INPUTS,
        "MAX_LABEL_BYTES": labels.MAX_LABEL_BYTES,
    }


def test_formats_and_environment_variables_are_those_of_the_code() -> None:
    text = POLICY.read_text(encoding="utf-8")
    assert FORMAT_NAMES in text
    assert PIXEL_LIMIT_VARIABLE in text
