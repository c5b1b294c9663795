"""Damaged or malicious files of an interrupted run give one short sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import FacePrediction
from emotion_runtime.results.resumption import ResumableOutput

SETTINGS = {"model": "a" * 64, "min_confidence": 0.5}
LINE: dict[str, Any] = {
    "path": "a.png",
    "label": "happy",
    "confidence": 0.9,
    "probabilities": {"happy": 0.9, "sad": 0.1},
    "error": None,
    "box": [1, 2, 3, 4],
    "detection_confidence": 0.9,
}


def resume(folder: Path, lines: list[Any], settings: object = SETTINGS) -> list[str]:
    output = folder / "r.jsonl"
    Path(f"{output}.settings.json").write_text(json.dumps({"settings": settings}))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    Path(f"{output}.partial").write_text(text)
    resumed = ResumableOutput(output, SETTINGS, FacePrediction)
    try:
        return list(resumed.skip_done(iter(["a.png", "b.png"])))
    finally:
        resumed.close()


def read_error(folder: Path, *arguments: Any) -> str:
    with pytest.raises(OutputError) as caught:
        resume(folder, *arguments)
    text = str(caught.value).replace(str(folder), "")
    assert text.isprintable()
    assert len(text) < 900
    return text


# The lines of the last picture are written again, so that there is a second picture.
LAST = LINE | {"path": "b.png"}


def test_complete_lines_are_kept(tmp_path: Path) -> None:
    assert resume(tmp_path, [LINE, LAST]) == ["b.png"]


@pytest.mark.parametrize(
    "change",
    [
        {"box": 7},
        {"label": ["happy"]},
        {"label": {"a": 1}},
        {"confidence": "0.9"},
        {"probabilities": [0.9]},
        {"error": 3},
    ],
)
def test_a_line_of_other_kinds_is_no_result(change: dict[str, Any], tmp_path: Path) -> None:
    assert "line 1 is not a result" in read_error(tmp_path, [LINE | change, LAST])


def test_a_line_without_its_fields_is_no_result(tmp_path: Path) -> None:
    assert "line 1 is not a result" in read_error(tmp_path, [{"path": "a.png"}, LAST])


def test_long_paths_and_settings_are_shortened_in_messages(tmp_path: Path) -> None:
    assert "line 1 is of 'xx" in read_error(tmp_path, [LINE | {"path": "x" * 100_000}, LAST])
    many = {f"\x1b[31m{number}": "y" * 1000 for number in range(100)}
    assert "further settings" in read_error(tmp_path, [LINE, LAST], SETTINGS | many)
