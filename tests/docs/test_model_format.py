"""The specification of the model file, docs/model-format.md, key by key against the reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from emotion_runtime import Contract, EmotionClassifier, ModelFileError
from emotion_runtime.labels import RESERVED_LABELS
from emotion_runtime.model import contract as rules
from synthetic import band_model

PAGE = (Path(__file__).parents[2] / "docs" / "model-format.md").read_text(encoding="utf-8")
PREFIX = "emotion_edge."


class Row(NamedTuple):
    """A row of a table: key, type, when it is required, meaning, example."""

    key: str
    kind: str
    required: str
    meaning: str
    example: str = ""


def read_table(heading: str) -> list[Row]:
    """Return the rows of the first table with a column `required` below a heading."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]
    return [Row(*(cell.strip(" `|") for cell in row)) for row in rows]


KEYS = read_table("## Metadata")
FIELDS = read_table("### Golden inputs")


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    """The metadata of a file of each version, with all keys."""
    folder = tmp_path_factory.mktemp("versions")
    files = {
        1: band_model(folder / "one.onnx"),
        2: band_model(folder / "two.onnx", other_threshold=0.5),
    }
    digest = {f"{PREFIX}graph_sha256": "0" * 64}
    return {
        version: EmotionClassifier(file).contract.to_metadata() | digest
        for version, file in files.items()
    }


def is_required(row: Row, version: int) -> bool:
    return row.required == "yes" or row.required == f"version {version}"


@pytest.mark.parametrize("version", [1, 2])
def test_the_page_lists_exactly_the_keys_that_are_written(
    metadata: dict[int, dict[str, str]], version: int
) -> None:
    listed = {row.key for row in KEYS if version == 2 or row.required != "version 2"}
    assert {key.removeprefix(PREFIX) for key in metadata[version]} == listed


@pytest.mark.parametrize("row", KEYS, ids=lambda row: row.key)
@pytest.mark.parametrize("version", [1, 2])
def test_a_file_without_a_required_key_is_refused(
    metadata: dict[int, dict[str, str]], row: Row, version: int
) -> None:
    without = {k: v for k, v in metadata[version].items() if k != PREFIX + row.key}
    if is_required(row, version):
        with pytest.raises(ModelFileError, match="contract"):
            Contract.from_metadata(without, "m.onnx")
    else:
        Contract.from_metadata(without, "m.onnx")


@pytest.mark.parametrize("row", KEYS, ids=lambda row: row.key)
def test_every_example_can_be_read(metadata: dict[int, dict[str, str]], row: Row) -> None:
    assert row.example
    if row.key == "golden":  # shortened
        return
    values = metadata[2] | {PREFIX + row.key: row.example}
    read = Contract.from_metadata(values, "m.onnx")
    attribute = "version" if row.key == "contract_version" else row.key
    assert getattr(read, attribute) is not None
    if row.kind.startswith("JSON"):
        assert isinstance(json.loads(row.example), list if "list" in row.kind else dict)


@pytest.mark.parametrize("row", KEYS, ids=lambda row: row.key)
def test_a_value_of_another_type_is_refused(metadata: dict[int, dict[str, str]], row: Row) -> None:
    if row.kind == "text" and row.key == "network":
        wrong = "n" * (rules.MAX_NAME_CHARACTERS + 1)
    else:
        wrong = '"text"' if row.kind.startswith("JSON") else "not a value"
    with pytest.raises(ModelFileError):
        Contract.from_metadata(metadata[2] | {PREFIX + row.key: wrong}, "m.onnx")


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.key)
@pytest.mark.parametrize("version", [1, 2])
def test_a_field_of_the_golden_inputs_is_required_as_the_page_describes(
    metadata: dict[int, dict[str, str]], row: Row, version: int
) -> None:
    golden = json.loads(metadata[version][f"{PREFIX}golden"])
    golden.pop(row.key, None)
    values = metadata[version] | {f"{PREFIX}golden": json.dumps(golden)}
    if is_required(row, version):
        with pytest.raises(ModelFileError, match="golden"):
            Contract.from_metadata(values, "m.onnx")
    else:
        Contract.from_metadata(values, "m.onnx")


def test_the_page_lists_exactly_the_fields_of_the_golden_inputs() -> None:
    golden = EmotionClassifier().contract.golden
    written = set(json.loads(golden.to_json())) | {"probe", "other", "mean_tolerance"}
    assert {row.key for row in FIELDS} == written


@pytest.mark.parametrize("version", ["0", "3", "1.0", "", "two", "01"])
def test_an_unknown_version_is_refused(metadata: dict[int, dict[str, str]], version: str) -> None:
    with pytest.raises(ModelFileError, match="this runtime reads versions 1 and 2"):
        Contract.from_metadata(metadata[1] | {f"{PREFIX}contract_version": version}, "m.onnx")


def test_unknown_keys_and_fields_are_treated_as_the_page_describes(
    metadata: dict[int, dict[str, str]],
) -> None:
    golden = json.loads(metadata[1][f"{PREFIX}golden"]) | {"colour": "red"}
    more = {
        f"{PREFIX}colour": "red",
        "other.tool": "x",
        f"{PREFIX}golden": json.dumps(golden),
        f"{PREFIX}metrics": '{"mine": 1}',
    }
    read = Contract.from_metadata(metadata[1] | more, "m.onnx")
    assert read.metrics == {"mine": 1}
    assert f"{PREFIX}colour" not in read.to_metadata()
    spec = json.loads(metadata[1][f"{PREFIX}input"]) | {"mirrored": True}
    with pytest.raises(ModelFileError, match="input"):
        Contract.from_metadata(metadata[1] | {f"{PREFIX}input": json.dumps(spec)}, "m.onnx")


def test_the_limits_on_the_page_are_those_of_the_reader() -> None:
    assert f"2 to {rules.MAX_LABELS:,} names" in PAGE
    assert f"1 to {rules.MAX_SIDE_PIXELS:,} pixels" in PAGE
    assert f"at most {rules.MAX_NAME_CHARACTERS} characters" in PAGE
    assert f"k is 1 to {rules.MAX_GOLDEN_INPUTS:,}" in PAGE
    assert f"at most {rules.MAX_JSON_DEPTH} levels" in PAGE
    assert f"at most {rules.MAX_METADATA_BYTES // 2**20} MiB" in PAGE
    reserved = PAGE.partition("Reserved are")[2].partition(".\n")[0].partition(". ")[0]
    assert set(re.findall(r"`([^`]+)`", reserved)) == set(RESERVED_LABELS)
    for precision in rules.PRECISIONS:
        assert f"`{precision}`" in PAGE
