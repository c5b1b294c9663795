"""``emotion-eval --splits``: the list of a run is read, or refused in one sentence."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from emotion_runtime.errors import SourceError
from emotion_runtime.evaluate.split_list import read_test_paths


def test_only_the_test_set_is_read(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("path,label,split\na/1.png,a,test\na/2.png,a,train\nb/3.png,b,test\n")
    assert read_test_paths(path) == {"a/1.png", "b/3.png"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "expected a CSV with the columns path and split"),
        ("path,label\na,b\n", "expected a CSV with the columns path and split"),
        ("path,split\na,train\n", "lists no picture of the split 'test'"),
    ],
)
def test_another_file_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_test_paths(path)


def test_a_file_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("path,split\n" + "x" * 200 + ",test\n")
    before = csv.field_size_limit(100)  # the limit is global
    try:
        with pytest.raises(SourceError, match="cannot be read"):
            read_test_paths(path)
    finally:
        csv.field_size_limit(before)
