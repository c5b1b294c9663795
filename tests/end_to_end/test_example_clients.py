"""The clients in examples/ read the same labels from a model file as emotion-infer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import Result
from PIL import Image

import synthetic

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}


class Line(NamedTuple):
    """A line that a client prints."""

    path: str
    label: str
    confidence: float


class Client:
    """The command line of a client."""

    def __init__(self, *command: str | Path) -> None:
        self.command = command

    def run(self, model: Path, *pictures: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, model, *pictures],
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
            encoding="utf-8",
        )

    def classify(self, model: Path, *pictures: Path) -> list[Line]:
        done = self.run(model, *pictures)
        assert done.returncode == 0, done.stderr
        return parse(done.stdout)


def parse(text: str) -> list[Line]:
    rows = [line.split("\t") for line in text.splitlines()]
    return [Line(path, label, float(confidence)) for path, label, confidence in rows]


def install_node_client(folder: Path) -> Client:
    if shutil.which("node") is None or (npm := shutil.which("npm")) is None:
        pytest.skip("Node.js or npm is not installed")
    for name in ("classify.js", "package.json"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    # Without scripts: that of onnxruntime-node downloads libraries for GPUs.
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install onnxruntime-node and sharp: {done.stderr.strip()[:200]}")
    return Client("node", folder / "classify.js")


def build_cpp_client(folder: Path) -> Client:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    own = os.environ.get("ONNXRUNTIME_DIR")
    places = [f"-I{own}/include", f"-L{own}/lib", f"-Wl,-rpath,{own}/lib"] if own else []
    source, program = EXAMPLES / "cpp" / "classify.cpp", folder / "classify"
    done = subprocess.run(
        [
            *(compiler, "-std=c++17", "-Wall", "-Wextra", source, "-o", program),
            *("-I/usr/include/onnxruntime", *places, "-lonnxruntime", "-lexif"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "fatal error" in done.stderr and "No such file or directory" in done.stderr:
        pytest.skip(
            "a header is missing: apt-get install libonnxruntime-dev libstb-dev libexif-dev "
            "nlohmann-json3-dev, or set ONNXRUNTIME_DIR to a release of onnxruntime "
            f"({done.stderr.splitlines()[0]})"
        )
    assert done.returncode == 0, done.stderr
    assert "warning: " not in done.stderr.replace("stb_image.h", ""), done.stderr
    return Client(program)


@pytest.fixture(
    scope="module",
    params=[
        "python",
        pytest.param("node", marks=pytest.mark.slow),
        pytest.param("cpp", marks=pytest.mark.slow),
    ],
)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Client:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "node":
        return install_node_client(folder)
    if request.param == "cpp":
        return build_cpp_client(folder)
    return Client(sys.executable, EXAMPLES / "python" / "classify.py")


Infer = Callable[..., Result]


def classify_with_toolkit(infer: Infer, model: Path, *pictures: Path) -> list[Line]:
    done = infer("-m", model, "-f", "jsonl", *pictures)
    assert done.exit_code == 0, done.stderr
    rows = synthetic.read_lines(done.stdout)
    return [
        Line(str(row["path"]), str(row["label"]), float(str(row["confidence"]))) for row in rows
    ]


def check_equal(lines: list[Line], expected: list[Line], tolerance: float = 1e-3) -> None:
    assert [line.path for line in lines] == [line.path for line in expected]
    assert [line.label for line in lines] == [line.label for line in expected]
    for line, one in zip(lines, expected, strict=True):
        assert line.confidence == pytest.approx(one.confidence, abs=tolerance), line.path


RELEASED = ROOT / "models" / "emotion_models" / "edge-int8.onnx"
SAMPLES = sorted((ROOT / "samples").glob("*.png"))


def test_the_samples_get_the_same_label_and_confidence(client: Client, infer: Infer) -> None:
    expected = classify_with_toolkit(infer, RELEASED, *SAMPLES)
    check_equal(client.classify(RELEASED, *SAMPLES), expected)


def test_pictures_are_put_on_white_turned_gray_cropped_and_resized(
    client: Client, infer: Infer, tmp_path: Path
) -> None:
    with Image.open(SAMPLES[0]) as sample:
        wide = sample.convert("RGBA").resize((150, 110), Image.Resampling.BICUBIC)
    wide.putalpha(Image.linear_gradient("L").resize(wide.size))
    coloured = Image.merge("RGB", [*wide.split()[:2], Image.new("L", wide.size, 40)])
    wide.save(tmp_path / "transparent.png")
    coloured.save(tmp_path / "coloured.png")
    coloured.resize((40, 30)).save(tmp_path / "small.png")
    pictures = sorted(tmp_path.glob("*.png"))
    expected = classify_with_toolkit(infer, RELEASED, *pictures)
    check_equal(client.classify(RELEASED, *pictures), expected)


def test_jpegs_are_turned_upright_and_large_ones_reduced(
    client: Client, infer: Infer, model_file: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    band = Image.fromarray(synthetic.band_face(0, size=120)).resize((150, 120))
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        band.save(tmp_path / f"{orientation}.jpg", exif=exif, quality=95)
    pictures = sorted(tmp_path.glob("*.jpg"))
    expected = classify_with_toolkit(infer, model_file, *pictures)
    assert len({line.label for line in expected}) > 1
    check_equal(client.classify(model_file, *pictures), expected, tolerance=0.02)

    large = tmp_path / "large.jpg"
    with Image.open(SAMPLES[0]) as sample:
        sample.resize((400, 400), Image.Resampling.BICUBIC).save(large, quality=95)
    expected = classify_with_toolkit(infer, RELEASED, large)
    check_equal(client.classify(RELEASED, large), expected, tolerance=0.02)


@pytest.mark.parametrize(
    ("other_threshold", "min_confidence", "labels"),
    [
        (0.6, 0.0, ["happy", "sad", "surprise", "other"]),
        (1.0, 0.999, ["happy", "sad", "surprise", "uncertain"]),  # 1: no face is "other"
        (None, 0.999, ["happy", "sad", "surprise", "uncertain"]),
    ],
)
def test_the_thresholds_of_the_file_are_used(
    client: Client,
    infer: Infer,
    tmp_path: Path,
    other_threshold: float | None,
    min_confidence: float,
    labels: list[str],
) -> None:
    model = synthetic.band_model(
        tmp_path / "m.onnx", other_threshold=other_threshold, min_confidence=min_confidence
    )
    faces = [synthetic.save_face(tmp_path / f"{label}.png", label) for label in range(4)]
    expected = classify_with_toolkit(infer, model, *faces)
    assert [line.label for line in expected] == labels
    check_equal(client.classify(model, *faces), expected)


def test_an_unreadable_picture_does_not_end_the_run(client: Client, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    done = client.run(RELEASED, broken, SAMPLES[0])
    assert done.returncode == 1
    assert done.stderr.startswith(f"{broken}: ")
    assert [line.path for line in parse(done.stdout)] == [str(SAMPLES[0])]


def test_a_file_of_another_contract_version_is_refused(client: Client, tmp_path: Path) -> None:
    model = synthetic.band_model(tmp_path / "m.onnx", metadata={"contract_version": "3"})
    done = client.run(model, SAMPLES[0])
    assert done.returncode == 1
    assert "its contract version is 3, not 1 or 2." in done.stderr
    assert not done.stdout


def test_a_reader_that_has_enough_is_no_error(client: Client) -> None:
    model = ROOT / "models" / "emotion_models" / "edge-int8.onnx"
    command = [*client.command, model, ROOT / "samples" / "happy_01.png"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
