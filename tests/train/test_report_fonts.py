"""Class names in any script: drawn if a font has the characters, otherwise reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from matplotlib import font_manager
from PIL import Image

from emotion_train.data.balance import ClassBalance
from emotion_train.report.fonts import choose_fonts, use_fonts
from emotion_train.report.plots import plot_classes
from synthetic import write_data

Train = Callable[..., Result]


def write_font(path: Path, character: str) -> Path:
    """Write a font that has one character, a filled square."""
    builder_module = pytest.importorskip("fontTools.fontBuilder")
    pen_module = pytest.importorskip("fontTools.pens.ttGlyphPen")
    pen = pen_module.TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = builder_module.FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": pen_module.TTGlyphPen(None).glyph(), "square": square})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square Test", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def _only_own_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all installed fonts except matplotlib's own."""
    manager = font_manager.fontManager
    own = [one for one in manager.ttflist if one.name == "DejaVu Sans"]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])


def test_greek_and_cyrillic_need_no_other_font() -> None:
    fonts = choose_fonts(("счастье", "θυμός", "sad"))
    assert fonts.families == ("DejaVu Sans",)
    assert fonts.describe_missing() is None


@pytest.mark.usefixtures("_only_own_fonts")
def test_an_installed_font_draws_characters_that_matplotlibs_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_font(tmp_path / "square.ttf", "驚")
    without = choose_fonts(("驚き", "sad"))
    assert without.missing == ("驚", "き")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path)])
    fonts = choose_fonts(("驚き", "sad"))
    assert fonts.families == ("DejaVu Sans", "Square Test")
    assert fonts.missing == ("き",)
    table = ClassBalance(np.zeros(2, np.int64), np.array([3, 2]), np.array([0, 1]))
    drawn = []
    for number, one in enumerate((without, fonts)):
        with use_fonts(one):
            plot_classes(table, ("驚", "sad"), tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as picture:
            drawn.append(np.asarray(picture.convert("L")).astype(int))
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.usefixtures("_only_own_fonts")
def test_characters_without_a_font_are_reported_once(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (6, 6), 2, ("驚き", "sad"))
    options = ("--network", "edge", "--epochs", "1", "--augmentation", "none", "--batch-size", "8")
    result = train(data, "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    told = "warning: the report's pictures show boxes for 2 characters of the class names that no"
    assert result.stderr.count(told) == 1
    assert "驚 (U+9A5A), き (U+304D)" in result.stderr
    assert "Glyph" not in result.stderr
