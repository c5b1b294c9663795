"""The arithmetic of the web page's library, run in Node.js and compared with the Python runtime."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import emotion_export
from emotion_export.page.build import MODULE_FILES
from emotion_runtime.faces.detection import Box
from emotion_runtime.faces.finder import Face
from emotion_runtime.faces.retinaface import RetinaFace
from emotion_runtime.pictures.preprocessing import find_photograph_size
from emotion_runtime.video.tracking import Tracker

PAGE = Path(emotion_export.__file__).parent / "page"
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules in a folder in which Node.js reads .js files as modules."""
    folder = tmp_path_factory.mktemp("modules")
    for name in MODULE_FILES:
        shutil.copyfile(PAGE / name, folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def run_node(modules: Path, **request: Any) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed (on Debian: apt-get install nodejs)")
    done = subprocess.run(
        [node, Path(__file__).with_name("page_modules.mjs"), modules],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


def encode(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def make_resize(rng: np.random.Generator, case: int) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return a request to resize or reduce noise, and the result of Pillow."""
    width, height = (int(one) for one in rng.integers(1, 90, 2))
    channels = (1, 3)[case % 2]
    is_square = case % 3 == 0
    if is_square:
        height = width
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    request: dict[str, Any] = {"data": encode(pixels), "width": width, "height": height}
    request["channels"] = channels
    if case % 5 == 4:
        request["factor"] = [int(one) for one in rng.integers(1, 9, 2)]
        return request, np.asarray(image.reduce(tuple(request["factor"])))
    size = [int(one) for one in rng.integers(1, 60, 2)]
    start = rng.uniform(0, 0.5, 2) * (width, height)
    stop = rng.uniform(0.6, 1, 2) * (width, height)
    if is_square:
        size[1], start[1], stop[1] = size[0], start[0], stop[0]
    request |= {"size": size, "filter": "BOX" if case % 7 == 0 else "BILINEAR"}
    request |= {"box": [*start, *stop] if case % 4 else None, "gap": 1.01 if case % 2 else None}
    made = image.resize(
        (size[0], size[1]),
        Image.Resampling[request["filter"]],
        box=tuple(request["box"]) if request["box"] else None,
        reducing_gap=request["gap"],
    )
    return request, np.asarray(made)


def test_resizing_gives_the_bytes_of_pillow(modules: Path) -> None:
    rng = np.random.default_rng(0)
    cases = [make_resize(rng, case) for case in range(90)]
    found = run_node(modules, resize=[request for request, _ in cases])["resize"]
    for text, (request, expected) in zip(found, cases, strict=True):
        made = np.frombuffer(base64.b64decode(text), np.uint8)
        difference = np.abs(made.astype(int) - expected.ravel()).max()
        # Where the scales differ, Pillow 13 may resize the columns first, which rounds differently.
        is_square = request["width"] == request["height"] and "size" in request
        assert difference <= (0 if is_square else 1), {**request, "data": ""}


class FixedSession:
    """Returns the same outputs for any picture."""

    path = "fixed.onnx"

    def __init__(self, loc: NDArray[np.float32], conf: NDArray[np.float32]) -> None:
        self._outputs = [loc[np.newaxis], conf[np.newaxis]]

    def inputs(self) -> dict[str, tuple[str, list[Any]]]:
        return {"pixels": ("tensor(uint8)", [1, "height", "width", 3])}

    def run(self, *_: object) -> list[NDArray[np.float32]]:
        return self._outputs


def test_boxes_and_suppression_are_those_of_the_runtime(modules: Path) -> None:
    rng = np.random.default_rng(1)
    requests, expected = [], []
    for width, height in ((320, 240), (97, 131), (8, 8)):
        anchors = sum(2 * -(-width // stride) * -(-height // stride) for stride in (8, 16, 32))
        loc = rng.normal(0, 3, (anchors, 4)).astype(np.float32)
        loc[0] = (np.nan, 0, 0, 0)
        loc[1, 2] = 1000  # a box without an end
        face = rng.uniform(0, 1, anchors).astype(np.float32)
        conf = np.stack([1 - face, face], axis=1)
        conf[0, 1] = conf[1, 1] = 1
        detector = RetinaFace(threshold=0.6, session=FixedSession(loc, conf))  # type: ignore[arg-type]
        expected.append(detector.detect(np.zeros((height, width, 3), np.uint8)))
        requests.append(
            {"loc": encode(loc), "conf": encode(conf), "width": width, "height": height}
            | {"threshold": 0.6}
        )
    found = run_node(modules, detections=requests)["detections"]
    for ours, theirs in zip(expected, found, strict=True):
        assert len(theirs) == len(ours) > 0
        for detection, other in zip(ours, theirs, strict=True):
            assert other["confidence"] == detection.confidence
            box = [other["box"][name] for name in ("x", "y", "width", "height")]
            assert box == pytest.approx(detection.box, rel=1e-6, abs=1e-4)


def test_faces_are_followed_as_by_the_runtime(modules: Path) -> None:
    """Two faces that move, one that is lost for a moment, and one that comes later."""
    rng = np.random.default_rng(2)
    tracker = Tracker()
    frames, expected = [], []
    for frame in range(20):
        time = frame * 0.05
        searched = frame % 3 == 0
        count = len(tracker.current())
        if searched:
            boxes = [
                Box(10 + 60 * number + 30 * time, 20 - 10 * time, 40, 50)
                for number in range(4)
                if (number, frame) not in ((0, 6), (3, 0), (3, 3))
            ]
            count = len(boxes)
        values = rng.dirichlet((1, 1, 1), count).astype(np.float32)
        if searched:
            pixels = np.zeros((48, 48), np.uint8)
            tracker.update(time, [Face(box, 0.9, pixels) for box in boxes], values)
        else:
            tracker.follow(time, tracker.current(), values)
        frames.append(
            {"time": time, "searched": searched, "values": values.tolist()}
            | {"boxes": [box._asdict() for box in boxes] if searched else []}
        )
        expected.append(
            [(one.number, one.box._asdict(), one.probabilities) for one in tracker.current()]
        )
    (found,) = run_node(modules, tracking=[frames])["tracking"]
    for ours, theirs in zip(expected, found, strict=True):
        assert [one["number"] for one in theirs] == [number for number, _, _ in ours]
        for other, (_, box, probabilities) in zip(theirs, ours, strict=True):
            assert other["box"] == pytest.approx(box)
            assert other["averages"] == pytest.approx(list(probabilities))


def test_photographs_are_recognised_by_the_rule_of_the_runtime(
    modules: Path, tmp_path: Path
) -> None:
    sizes = [(48, 48), (383, 383), (384, 384), (128, 160), (128, 161), (127, 600), (600, 200)]
    expected = []
    for size in sizes:
        path = tmp_path / f"{size}.bmp"
        Image.new("RGB", size).save(path)
        expected.append(find_photograph_size(str(path)) is not None)
    assert run_node(modules, photographs=sizes)["photographs"] == expected
    assert True in expected
    assert False in expected


@pytest.mark.slow
def test_types_are_checked_and_declared() -> None:
    command = [sys.executable, SCRIPTS / "javascript_types.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
