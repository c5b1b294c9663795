"""Detectors: the threshold, files of the YuNet family, turned and enlarged pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

import emotion_models
from emotion_runtime import Box, Detection, DetectorError, FaceClassifier, FaceFinder
from emotion_runtime.errors import ModelFileError
from emotion_runtime.faces.detection import compute_iou
from emotion_runtime.faces.detectors import open_detector
from emotion_runtime.infer.cli import main

SAMPLES = Path(__file__).parents[2] / "samples"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    skimage = pytest.importorskip("skimage", reason="scikit-image ships the photograph")
    return Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")


@pytest.fixture(scope="module")
def hopper() -> Image.Image:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib ships the photograph")
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return Image.open(path).convert("RGB")


class Recorder:
    """Finds nothing, and keeps the sizes of what it was given."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        self.sizes.append((pixels.shape[1], pixels.shape[0]))
        return []


def write_yunet(path: Path, side: int | str = "side", channels: int = 3, **renamed: str) -> Path:
    """Write a file of YuNet's form that finds squares of 32 pixels that are red.

    Args:
        path: Where to.
        side: Of the input, in pixels; a name for any.
        channels: Of the input.
        renamed: Outputs that get another name.
    """
    onnx = pytest.importorskip("onnx", reason="writes the file")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    constants: dict[str, NDArray[Any]] = {
        # The third of BGR is red.
        "red": np.array([0, 0, 1 / 255], np.float32).reshape(1, 3, 1, 1),
        "column": np.array([1, -1, 1], np.int64),
        "zero": np.array(0, np.float32),
        "box": np.array([0.5, 0.5, 0, 0], np.float32).reshape(1, 1, 4),
        "marks": np.zeros((1, 1, 10), np.float32),
    }
    nodes, outputs = [], []
    for stride in (8, 16, 32):
        pool = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        nodes += [
            helper.make_node("AveragePool", ["input"], [f"mean{stride}"], **pool),
            helper.make_node("Conv", [f"mean{stride}", "red"], [f"map{stride}"]),
            helper.make_node("Reshape", [f"map{stride}", "column"], [f"share{stride}"]),
            helper.make_node("Mul", [f"share{stride}", "zero"], [f"none{stride}"]),
        ]
        of = {"cls": f"share{stride}" if stride == 32 else f"none{stride}", "obj": f"share{stride}"}
        for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = renamed.get(f"{kind}_{stride}", f"{kind}_{stride}")
            if size == 1:
                nodes.append(helper.make_node("Identity", [of[kind]], [name]))
            else:
                plain = "box" if kind == "bbox" else "marks"
                nodes.append(helper.make_node("Add", [f"none{stride}", plain], [name]))
            outputs.append(helper.make_tensor_value_info(name, float32, [1, None, size]))
    shape = [1, channels, side, side] if isinstance(side, int) else [1, channels, "rows", "columns"]
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", float32, shape)],
        outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=7).SerializeToString()
    )
    return path


def test_yunet_file_finds_boxes_where_its_outputs_say(tmp_path: Path) -> None:
    detector = open_detector(write_yunet(tmp_path / "y.onnx"))
    pixels = np.zeros((70, 101, 3), dtype=np.uint8)  # no multiple of 32
    pixels[32:64, 64:96, 0] = 255
    (found,) = detector.detect(pixels)
    assert found.box == pytest.approx((64, 32, 32, 32))
    assert found.confidence == pytest.approx(1)
    assert detector.detect(pixels[:, :, ::-1]) == []  # blue


def test_yunet_file_of_fixed_size_looks_at_large_pictures_in_parts(tmp_path: Path) -> None:
    finder = FaceFinder(open_detector(write_yunet(tmp_path / "y.onnx", side=320)), turned=False)
    image = Image.new("RGB", (1000, 700))
    image.paste((255, 0, 0), (600, 400, 760, 560))
    found = finder.find(image)
    assert found
    for face in found:
        x, y, width, height = face.box
        assert x >= 570
        assert x + width <= 790
        assert y >= 370
        assert y + height <= 590


def test_yunet_file_runs_from_the_command_line(tmp_path: Path) -> None:
    detector = write_yunet(tmp_path / "y.onnx")
    image = Image.new("RGB", (640, 640))
    image.paste((255, 0, 0), (320, 320, 352, 352))
    image.save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", "--faces", "--detector", detector, "-f", "jsonl")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["box"] == [320, 320, 32, 32]


def test_file_of_the_shipped_form_is_read_like_the_shipped_one(astronaut: Image.Image) -> None:
    path = emotion_models.detector_path("retinaface")
    by_file, by_name = (FaceFinder(open_detector(one)) for one in (path, "retinaface"))
    assert [face.box for face in by_file.find(astronaut)] == [
        face.box for face in by_name.find(astronaut)
    ]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"cls_8": "classes"}, "outputs must be cls_8 to kps_32"),
        ({"side": 100}, "multiples of 32"),
        ({"channels": 1}, "cannot be|must be float32"),
    ],
)
def test_detector_file_of_another_form_is_one_sentence(
    tmp_path: Path, form: dict[str, Any], message: str
) -> None:
    path = write_yunet(tmp_path / "y.onnx", **form)
    with pytest.raises((DetectorError, ModelFileError), match=message) as raised:
        open_detector(path)
    assert str(path) in str(raised.value)


def test_detector_that_is_none_is_refused(tmp_path: Path) -> None:
    sample = SAMPLES / "happy_01.png"
    classifier = emotion_models.model_path("edge-int8")
    result = run(sample, "--faces", "--detector", classifier)
    assert result.exit_code == 1
    assert "no detector of a form that is known" in result.stderr
    result = run(sample, "--faces", "--detector", tmp_path / "none.onnx")
    assert result.exit_code == 1
    assert "cannot be opened" in result.stderr
    result = run(sample, "--faces", "--detector", "hog")
    assert result.exit_code == 2
    assert "'retinaface', 'libfacedetection', nor an ONNX file" in result.stderr


def test_results_do_not_replace_the_detector_file(tmp_path: Path) -> None:
    detector = write_yunet(tmp_path / "y.onnx")
    before = detector.read_bytes()
    result = run(SAMPLES / "sad_01.png", "--faces", "--detector", detector, "-o", detector)
    assert result.exit_code == 1
    assert detector.read_bytes() == before


@pytest.mark.parametrize(
    "option",
    [["--detection-threshold", "0.5"], ["--no-turn"], ["--detector", "retinaface"]],
)
def test_options_of_the_search_need_faces(option: list[str]) -> None:
    result = run(SAMPLES / "sad_01.png", *option)
    assert result.exit_code == 2
    assert "need --faces" in result.stderr


def test_options_of_videos_and_of_pictures_are_told_apart() -> None:
    result = run(SAMPLES / "sad_01.png", "--faces", "--detect-every", "2")
    assert result.exit_code == 2
    assert "--detect-every is for videos" in result.stderr
    result = run("a.mp4", "--faces", "--no-turn")
    assert result.exit_code == 2
    assert "--no-turn is for pictures" in result.stderr


def test_threshold_bounds_the_confidence_of_what_is_found(tmp_path: Path) -> None:
    faces = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.png"))[:8]]
    image = Image.new("RGB", (640, 480), "gray")
    for place, face in enumerate(faces):
        image.paste(face.resize((40, 40)), (20 + 75 * place, 200))
    image.save(tmp_path / "a.png")
    found = {}
    for threshold in (0.3, 0.99):
        result = run(
            *(tmp_path / "a.png", "--faces", "-f", "jsonl", "--no-turn"),
            *("--detection-threshold", threshold),
        )
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        shares = [row["detection_confidence"] for row in rows if row["box"]]
        assert all(share >= threshold for share in shares)
        found[threshold] = len(shares)
    assert found[0.3] > found[0.99]
    with pytest.raises(ValueError, match="threshold is 2"):
        open_detector(threshold=2)


@pytest.mark.parametrize("turn", [2, 3, 4])  # by 90, 180 and 270 degrees
def test_face_of_a_turned_picture_is_found_and_seen_upright(hopper: Image.Image, turn: int) -> None:
    classifier = FaceClassifier()
    finder = classifier.finder
    turned = hopper.transpose(Image.Transpose(turn))
    (upright,) = classifier.predict(hopper)
    (face,) = classifier.predict(turned)
    assert face.label == upright.label
    assert face.confidence == pytest.approx(upright.confidence, abs=0.05)
    assert face.box is not None
    mask = np.zeros((hopper.height, hopper.width), dtype=np.uint8)
    mask[130:332, 176:354] = 255  # marked by hand
    where = Image.fromarray(mask).transpose(Image.Transpose(turn)).getbbox()
    assert where is not None
    marked = Box(where[0], where[1], where[2] - where[0], where[3] - where[1])
    assert compute_iou(Box(*face.box), marked) > 0.7
    assert finder.notes() == [
        "the faces of 1 picture were found after turning by 90, 180 or 270 degrees; boxes are of "
        "the picture as it is"
    ]


def test_upright_picture_is_not_turned(astronaut: Image.Image) -> None:
    finder, never = FaceFinder(), FaceFinder(turned=False)
    assert [one.box for one in finder.find(astronaut)] == [one.box for one in never.find(astronaut)]
    assert finder.notes() == []


def test_option_keeps_pictures_from_being_turned(hopper: Image.Image, tmp_path: Path) -> None:
    hopper.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "a.png")
    assert "1 face:" in run(tmp_path / "a.png", "--faces").stderr
    assert "after turning" not in run(tmp_path / "a.png", "--faces", "--no-turn").stderr


@pytest.mark.parametrize(
    ("size", "looks"),
    [
        ((400, 300), [(576, 432)]),  # enlarged
        ((150, 100), [(450, 300)]),  # by three at most
        ((630, 470), [(640, 477)]),
        ((620, 470), [(620, 470)]),
        ((1632, 1224), [(896, 672), (192, 144)]),
        ((3000, 300), [(3600, 360)]),  # as a part of 480 × 300 would be
    ],
)
def test_pictures_are_looked_at_in_the_size_that_pays(
    size: tuple[int, int], looks: list[tuple[int, int]]
) -> None:
    detector = Recorder()
    FaceFinder(detector, turned=False).find(np.zeros((size[1], size[0], 3), dtype=np.uint8))
    for seen, wanted in zip(detector.sizes, looks, strict=True):
        assert seen == pytest.approx(wanted, rel=0.05)


def test_turned_looks_are_bounded() -> None:
    detector = Recorder()
    FaceFinder(detector).find(np.zeros((3000, 4000, 3), dtype=np.uint8))
    assert detector.sizes == [(896, 672), (192, 144), (360, 480), (360, 480), (480, 360)]


@pytest.mark.parametrize("size", [(4032, 3024), (3648, 2736), (3600, 2700)])
def test_photograph_is_decoded_at_a_quarter_where_that_nearly_suffices(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """896 pixels are wanted; of the second and the third, a quarter has 912 and 900."""
    Image.new("RGB", size, "gray").save(tmp_path / "a.jpg", quality=30)
    image, scale, _ = FaceFinder(Recorder()).locate(tmp_path / "a.jpg")
    assert image.size == (size[0] // 4, size[1] // 4)
    assert scale == pytest.approx(0.25)


def test_face_of_few_pixels_has_a_warning(astronaut: Image.Image, tmp_path: Path) -> None:
    astronaut.resize((96, 96)).save(tmp_path / "small.png")
    astronaut.save(tmp_path / "large.png")
    result = run(tmp_path, "--faces", "-f", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["warning"] for row in rows] == [None, "small face"]
    assert "1 of 2 faces are under 24 pixels high" in result.stderr
    table = run(tmp_path, "--faces").stdout.splitlines()
    assert "warning" in table[0]
    assert "small face" in table[2]
    assert len({line.index(str(tmp_path)) for line in table[1:]}) == 1  # aligned
