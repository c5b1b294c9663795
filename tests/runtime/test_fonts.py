"""Labels and file names on pictures, in any script of a font."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image, ImageFont

from emotion_runtime.drawing.boxes import draw_faces
from emotion_runtime.drawing.fonts import DEFAULT_FONT_PATH, Font
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.results.contact_sheet import ContactSheet
from synthetic import band_model, save_face

Infer = Callable[..., Result]
LABELS = ("überrascht", "ευτυχισμένος", "грустный")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with German, Greek and Russian labels."""
    labels = json.dumps(LABELS, ensure_ascii=False)
    return band_model(tmp_path / "labels.onnx", metadata={"labels": labels})


def draw(text: str, font: Font) -> np.ndarray:
    image = Image.new("RGB", (300, 200), "white")
    face = FacePrediction(text, 0.5, {text: 0.5}, box=(20, 80, 100, 100))
    draw_faces(image, [face], [text], font)
    return np.asarray(image)


@pytest.mark.parametrize("text", [*LABELS, "Ångström", "Tiếng Việt", "Ђурђевдан", "Ἀθῆναι", "…“”–"])
def test_own_font_draws_latin_greek_and_cyrillic(text: str) -> None:
    font = Font()
    assert font.prepare_text(text) == unicodedata.normalize("NFC", text)
    assert font.describe_missing() is None
    assert (draw(text, font) != draw("\uffff" * len(text), Font())).any()


def test_combining_accent_is_drawn_as_the_composed_letter() -> None:
    """File names of macOS have combining accents."""
    apart = unicodedata.normalize("NFD", "überrascht")
    assert len(apart) == 11
    assert (draw(apart, Font()) == draw("überrascht", Font())).all()


def test_characters_that_cannot_be_drawn_are_reported_once_with_their_number() -> None:
    font = Font()
    for text in ("嬉しい", "嬉 a", "b"):
        font.prepare_text(text)
    note = font.describe_missing()
    assert note is not None
    assert note.startswith(
        "3 characters cannot be drawn by DejaVuSans.ttf: 嬉 (U+5B09), し (U+3057)"
    )
    assert "--font FILE" in note
    many = Font()
    many.prepare_text("".join(map(chr, range(0x4E00, 0x4E30))))
    assert "and 38 more" in (many.describe_missing() or "")


def test_controls_in_a_name_are_shown_as_escapes() -> None:
    font = Font()
    assert font.prepare_text("a\x1bb\udcff") == r"a\x1bb\xff"
    assert font.describe_missing() is None


def test_long_text_is_shortened_at_its_start() -> None:
    font = Font()
    fitted = font.fit_text("ü" * 100 + "_12.png", 12, 96)
    assert fitted.startswith("…")
    assert fitted.endswith("_12.png")
    assert font.get_font(12).getlength(fitted) <= 96
    label = font.fit_text("ü" * 100, 12, 96, tail=" 87%")
    assert label.startswith("üü")
    assert label.endswith("… 87%")
    assert font.get_font(12).getlength(label) <= 96


def test_font_of_the_user_draws_other_scripts(tmp_path: Path) -> None:
    builder = pytest.importorskip("fontTools.fontBuilder", reason="makes a font of one character")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")

    def square(side: int) -> object:
        pen = pens.TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, side), (side, side), (side, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    made = builder.FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", "uni5B09"])
    made.setupCharacterMap({0x5B09: "uni5B09"})
    made.setupGlyf({".notdef": square(300), "uni5B09": square(900)})
    made.setupHorizontalMetrics({".notdef": (500, 0), "uni5B09": (1000, 0)})
    made.setupHorizontalHeader(ascent=900, descent=-100)
    made.setupNameTable({"familyName": "One", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(tmp_path / "one.ttf")
    font = Font(tmp_path / "one.ttf")
    font.prepare_text("嬉")
    assert font.describe_missing() is None
    font.prepare_text("a")
    assert "1 character cannot be drawn by one.ttf: a (U+0061)" in (font.describe_missing() or "")


def test_file_that_is_not_a_font_gives_one_sentence(
    tmp_path: Path, infer: Infer, model: Path
) -> None:
    bad = tmp_path / "bad.ttf"
    bad.write_bytes(b"no font at all")
    picture = save_face(tmp_path / "a.png", 0)
    sheet = tmp_path / "sheet.png"
    for font, message in ((bad, "not a font"), (tmp_path / "none.ttf", "no such font file")):
        result = infer(picture, "-m", model, "--contact-sheet", sheet, "--font", font)
        assert result.exit_code == 1
        assert message in result.stderr
        assert not sheet.exists()
    assert infer(picture, "-m", model, "--font", bad).exit_code == 2


def test_contact_sheet_has_labels_and_names_in_any_script(
    tmp_path: Path, infer: Infer, model: Path
) -> None:
    for label, name in enumerate(("Zoë", "Ελένη", "Юля")):
        save_face(tmp_path / "faces" / f"{name}.png", label)
    result = infer(tmp_path / "faces", "-m", model, "--contact-sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0
    assert "cannot be drawn" not in result.stderr
    save_face(tmp_path / "faces" / "嬉.png", 0)
    result = infer(tmp_path / "faces", "-m", model, "--contact-sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0
    assert result.stderr.count("1 character cannot be drawn") == 1


def test_pillow_without_freetype_draws_some_characters_and_reports_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(ImageFont, "load_default_imagefont"):
        pytest.skip("this Pillow has no bitmap font beside FreeType's")
    bitmap = ImageFont.load_default_imagefont()

    def missing(*_: object) -> None:
        raise ImportError("The _imagingft C module is not installed")

    monkeypatch.setattr(ImageFont, "truetype", missing)
    monkeypatch.setattr(ImageFont, "load_default", lambda size=None: bitmap)
    font = Font()
    sheet = ContactSheet(tmp_path / "sheet.png", font=font)
    face = save_face(tmp_path / "Юля.png", 0)
    sheet.add(Prediction("грустный", 0.9, {"грустный": 0.9}, str(face)))
    sheet.save()
    draw("überrascht", font)
    assert "built without FreeType: г (U+0433)" in (font.describe_missing() or "")
    assert "ü" not in (font.describe_missing() or "")
    with pytest.raises(OutputError, match="without FreeType"):
        Font(DEFAULT_FONT_PATH)
