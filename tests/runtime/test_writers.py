"""Output formats: exact values for programs; safe and aligned text for people."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from emotion_runtime.command_line.text_width import measure_width
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.results.output import open_output
from emotion_runtime.results.writers import WRITERS

Infer = Callable[..., Result]
HOSTILE = "\x1b]0;title\x07\x9b31m\x7f\u202e\u2028.png"


def write_predictions(
    name: str, *predictions: Prediction, labels: tuple[str, ...] = ("a", "b")
) -> str:
    stream = io.StringIO()
    with WRITERS[name](stream, labels, type(predictions[0])) as writer:
        for prediction in predictions:
            writer.write(prediction)
    return stream.getvalue()


def make_prediction(path: str, label: str = "a", other: str = "b") -> Prediction:
    return Prediction(label, 0.75, {label: 0.75, other: 0.25}, path)


@pytest.mark.parametrize("name", WRITERS)
def test_only_csv_sends_control_characters_to_a_terminal(name: str) -> None:
    text = write_predictions(
        name, make_prediction(HOSTILE), Prediction(None, None, None, "x", f"{HOSTILE}: no")
    )
    if name == "csv":
        assert next(row["path"] for row in csv.DictReader(io.StringIO(text))) == HOSTILE
    else:
        assert text.replace("\n", "").isprintable()
    if name == "jsonl":
        first, second = map(json.loads, text.splitlines())
        assert (first["path"], second["error"]) == (HOSTILE, f"{HOSTILE}: no")
        assert "\\u009b" in text
    if name == "table":
        assert "\\x1b]0;title\\x07\\x9b31m\\x7f\\u202e\\u2028.png" in text


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
def test_messages_escape_names(infer: Infer, model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE
    folder.mkdir()
    for arguments, code in [
        ([folder, "-m", model_file], 1),
        ([f"--{HOSTILE}"], 2),
        (["x", "-f", HOSTILE], 2),
        (["x", "-m", folder], 1),
        (["x", "-m", model_file, "-o", folder], 2),
        (["x", "-m", model_file, "--contact-sheet", folder / "none" / "a.png"], 1),
    ]:
        result = infer(*arguments)
        assert result.exit_code == code
        assert "\\x1b" in result.stderr
        assert result.stderr.replace("\n", "").isprintable()


def test_a_traceback_is_escaped_too(infer: Infer, tmp_path: Path) -> None:
    result = infer("x", "-v", "-m", tmp_path / HOSTILE)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.replace("\n", "").isprintable()


def test_json_never_contains_nan_or_infinity() -> None:
    for bad in (float("nan"), float("inf")):
        prediction = Prediction("a", bad, {"a": bad, "b": 0.0}, "x.png")
        for name in ("json", "jsonl", "csv"):
            with pytest.raises(OutputError, match="not a finite number"):
                write_predictions(name, prediction)


@pytest.mark.parametrize(
    "path", ["=1+1.png", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝x", "'x", "'=x", "x=1", "a\rb,c"]
)
def test_csv_cells_are_not_formulas_and_paths_can_be_restored(path: str) -> None:
    text = write_predictions("csv", make_prediction(path), make_prediction("plain"))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["confidence"] for row in rows] == ["0.750000"] * 2
    cell = rows[0]["path"]
    assert cell[0] not in "=+-@\t\r\n＝"
    assert cell.removeprefix("'") == path


def test_csv_numbers_are_not_escaped() -> None:
    face = FacePrediction("a", 0.5, {"a": 0.5, "b": 0.5}, "x", box=(-3, 1, 2, 2))
    assert ",-3,1,2,2," in write_predictions("csv", face)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_names_that_are_not_utf8_keep_their_bytes(name: str, tmp_path: Path) -> None:
    raw = b"caf\xe9 \xff.png"
    with open_output(tmp_path / "out") as stream, WRITERS[name](stream, ("a", "b")) as writer:
        writer.write(make_prediction(os.fsdecode(raw)))
    data = (tmp_path / "out").read_bytes()
    if name == "csv":
        assert data.splitlines()[1].startswith(raw + b",a,")
    else:
        assert os.fsencode(json.loads(data)["path"]) == raw


def test_a_table_is_aligned_in_every_script() -> None:
    names = ("驚き", "радость", "ελπίδα", "👩‍💻", "e\u0301tonne\u0301", "❤️", "𝒂")
    labels = (*names, "plain")
    predictions = [Prediction(label, 0.5, dict.fromkeys(labels, 0.5), "END") for label in labels]
    lines = write_predictions("table", *predictions, labels=labels).splitlines()
    assert {measure_width(line[: line.rindex(" ")]) for line in lines} == {
        measure_width(lines[0][: lines[0].rindex(" ")])
    }


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("驚き", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("👍🏽", 2),
        ("👩‍💻", 2),
        ("❤️", 2),
        ("한", 2),
    ],
)
def test_display_width_of_text(text: str, width: int) -> None:
    assert measure_width(text) == width
