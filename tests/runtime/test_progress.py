"""The progress line: its total and time left are found while the run works."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from emotion_runtime.results import progress
from emotion_runtime.results.progress import PictureTotal, report_progress
from synthetic import save_face


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def read_terminal_lines(
    monkeypatch: pytest.MonkeyPatch, interval: float, items: Iterable[str], total: PictureTotal
) -> list[str]:
    """Return the lines that are printed to a terminal."""
    # Inside the test: pytest has another standard error in each phase.
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "_INTERVAL_SECONDS", interval)
    passed = report_progress(
        items, "pictures", io.StringIO(), total=total, done=lambda: 4, count=len
    )
    assert list(passed) == list(items)
    return [line.strip() for line in stream.getvalue().split("\r") if line.strip()]


def wait_for_total(total: PictureTotal) -> int:
    limit = time.monotonic() + 20
    while not total() and time.monotonic() < limit:
        time.sleep(0.01)
    return total()


def test_pictures_are_counted_in_the_background(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/b/2.png", "a/.hidden/3.png", "a/.4.png", "5.png", "6.png"):
        save_face(tmp_path / name, 0)
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "b" / "back").symlink_to(tmp_path / "a")
    assert (
        wait_for_total(PictureTotal([str(tmp_path / "a"), str(tmp_path / "[56].png"), "none.png"]))
        == 5
    )
    assert PictureTotal(["-"])() == 0, "the number of paths is not known"


def test_total_and_time_left_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        save_face(tmp_path / f"{number}.png", 0)
    total = PictureTotal([str(tmp_path)])
    wait_for_total(total)
    lines = read_terminal_lines(monkeypatch, 0.0, ["a", "bc"], total)  # batches of pictures
    assert lines[-1].startswith("7 of 8 pictures, ")
    assert lines[-1].endswith(" s left")


def test_no_folder_is_listed_before_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "scandir", None)
    assert read_terminal_lines(monkeypatch, 60.0, "abc", PictureTotal([str(tmp_path)])) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (89, "89 s"), (600, "10 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert progress._format_seconds(seconds) == text
