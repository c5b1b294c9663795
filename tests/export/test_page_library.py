"""The library emotion-edge.js, from its npm package, in real browsers."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import emotion_runtime
from emotion_runtime import EmotionClassifier, FaceClassifier, FaceFinder, read_face
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.prediction import FacePrediction
from firefox import Firefox, find_firefox
from synthetic import band_model, dark_face
from web_page import serve

ROOT = Path(__file__).parents[2]
PACKAGE = "node_modules/emotion-edge"
FIVE_FACES = (
    ("surprise_03", 110, (60, 60)),
    ("happy_01", 170, (215, 130)),
    ("sad_01", 120, (425, 45)),
    ("happy_08", 90, (560, 190)),
    ("surprise_08", 150, (660, 60)),
)


def scene(*faces: tuple[str, int, tuple[int, int]], size: tuple[int, int]) -> Image.Image:
    """Paste samples of given sides in pixels on a background of noise."""
    noise = np.random.default_rng(4).integers(90, 190, (5, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    for name, side, corner in faces:
        face = Image.open(ROOT / "samples" / f"{name}.png").convert("RGB")
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).ellipse((4, -8, side - 4, side + 8), fill=255)
        face = face.resize((side, side), Image.Resampling.BICUBIC)
        image.paste(face, corner, mask.filter(ImageFilter.GaussianBlur(4)))
    return image


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.fixture(scope="module")
def site(page_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site with the npm package, the page of the documentation, and an empty page."""
    folder = tmp_path_factory.mktemp("site")
    script = ROOT / "scripts" / "pack_npm.py"
    command = [sys.executable, script, page_folder, "-o", folder]
    packed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert packed.returncode == 0, packed.stderr
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    install = [npm, "install", "--silent", "--offline", "--no-audit", packed.stdout.strip()]
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    (example,) = re.findall(
        r"```html\n(.*?)```", (ROOT / "docs" / "web.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (folder / "example.html").write_text(example, encoding="utf-8")
    (folder / "blank.html").write_text("<!doctype html><title>blank</title>", encoding="utf-8")
    with serve(folder) as address:
        yield address


OPEN = """async () => {
  const { EmotionEdge } = await import("/node_modules/emotion-edge/emotion-edge.js");
  self.EmotionEdge = EmotionEdge;
  self.model = "/node_modules/emotion-edge/edge-int8.onnx.gz";
  self.toBlob = (text) => new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))]);
  self.toPlain = (result) => ({ ...result, pixels: Array.from(result.pixels) });
  self.edge = await EmotionEdge.open({ model });
}"""


def open_library(browser: Any, site: str) -> Any:
    """Open an empty page of a browser of Playwright with an open library `edge`."""
    page = browser.new_context().new_page()
    page.goto(site + "blank.html")
    page.evaluate(OPEN)
    return page


@pytest.fixture(scope="module")
def page(browser: Any, site: str) -> Iterator[Any]:
    opened = open_library(browser, site)
    yield opened
    opened.context.close()


def classify(page: Any, pictures: list[bytes]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(
        """async (texts) => {
          const results = [];
          for (const text of texts) results.push(toPlain(await edge.classify(toBlob(text))));
          return results;
        }""",
        [base64.b64encode(picture).decode() for picture in pictures],
    )
    return found


def find_faces(page: Any, pictures: list[bytes], **options: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(
        """async ([texts, options]) => {
          const results = [];
          for (const text of texts) {
            const found = await edge.faces(toBlob(text), options);
            const { width, height, smallestFace, turn } = found;
            results.push({ width, height, smallestFace, turn, faces: found.map(toPlain) });
          }
          return results;
        }""",
        [[base64.b64encode(picture).decode() for picture in pictures], options],
    )
    return found


def test_page_of_the_documentation_shows_the_faces(browser: Any, site: str, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    scene(*FIVE_FACES, size=(860, 330)).save(path)
    page = browser.new_page()
    page.goto(site + "example.html")
    page.wait_for_function("document.getElementById('file').onchange !== null")
    page.set_input_files("#file", path)
    page.wait_for_function("document.getElementById('result').textContent !== ''")
    shown = page.inner_text("#result").splitlines()
    page.close()
    ours = FaceClassifier().predict(path)
    assert len(ours) == 5
    for line, face in zip(shown, ours, strict=True):
        label, box = line.split(" at ")
        assert label == face.label
        assert [int(one) for one in box.split(",")] == pytest.approx(list(face.box or ()), abs=1)


def test_faces_agree_with_the_runtime(page: Any) -> None:
    five = scene(*FIVE_FACES, size=(860, 330))
    pictures = {
        "five": five,
        "enlarged": scene(("happy_02", 90, (10, 5)), size=(120, 100)),
        "two views": scene(
            ("happy_02", 900, (90, 20)), ("sad_01", 80, (1000, 90)), size=(1500, 1000)
        ),
        "on its side": five.transpose(Image.Transpose.ROTATE_90),
        "gray": five.convert("L"),
        "panorama": scene(*FIVE_FACES, size=(2400, 330)),
        "no face": scene(size=(300, 200)),
    }
    data = [encode(image) for image in pictures.values()]
    compare_faces(FaceClassifier(keep_crops=True), data, find_faces(page, data))


def compare_faces(
    classifier: FaceClassifier,
    pictures: list[bytes],
    found: list[dict[str, Any]],
    crop_tolerance: int = 1,
) -> None:
    for picture, theirs in zip(pictures, found, strict=True):
        size = Image.open(io.BytesIO(picture)).size
        assert {theirs["width"], theirs["height"]} == set(size)
        assert theirs["smallestFace"] == classifier.finder.compute_smallest_face(*size)
        for ours, face in zip(classifier.predict(picture), theirs["faces"], strict=True):
            compare_face(ours, face, crop_tolerance)


def compare_face(ours: FacePrediction, face: dict[str, Any], crop_tolerance: int) -> None:
    assert face["box"] == pytest.approx(list(ours.box or ()), abs=1)
    assert face["label"] == ours.label
    assert face["warning"] == ours.warning
    assert face["detection_confidence"] == pytest.approx(ours.detection_confidence, abs=0.01)
    assert ours.crop is not None
    assert np.abs(ours.crop.ravel().astype(int) - face["pixels"]).max() <= crop_tolerance
    for label, share in (ours.probabilities or {}).items():
        assert face["probabilities"][label] == pytest.approx(share, abs=0.02)


def test_threshold_and_smallest_face_are_those_of_the_runtime(page: Any) -> None:
    places = [(x, y) for x in range(20, 560, 90) for y in range(20, 400, 90)]
    crowd = encode(scene(*(("happy_01", 24, place) for place in places), size=(600, 440)))
    for threshold, least in ((0.6, 40), (0.6, 16), (0.9, 16)):
        finder = FaceFinder(threshold=threshold, min_face=least)
        ours = FaceClassifier(finder=finder, keep_crops=True)
        found = find_faces(page, [crowd], threshold=threshold, minFace=least)
        compare_faces(ours, [crowd], found)
    assert len(found[0]["faces"]) > 0


JPEG_KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all colours": {"subsampling": 0},
    "progressive": {"progressive": True},
    "turned": {"exif": with_orientation(6)},
    "mirrored": {"exif": with_orientation(7)},
}


def jpegs(size: tuple[int, int]) -> list[bytes]:
    """Return JPEGs of strong colours and of gray."""
    image = scene(*FIVE_FACES, size=size)
    squares = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image.paste(Image.fromarray(squares).resize((size[0], 60), Image.Resampling.NEAREST))
    made = [encode(image, "JPEG", quality=90, **options) for options in JPEG_KINDS.values()]
    return [*made, encode(image.convert("L"), "JPEG")]


def test_jpegs_are_decoded_as_by_the_runtime(page: Any) -> None:
    """Small ones at full size, large ones at a reduced scale, with partial blocks at the edges."""
    for size in ((301, 187), (1501, 999)):
        pictures = jpegs(size)
        for picture, found in zip(pictures, classify(page, pictures), strict=True):
            assert np.abs(read_face(picture).ravel().astype(int) - found["pixels"]).max() <= 1
    compare_faces(FaceClassifier(keep_crops=True), pictures[:4], find_faces(page, pictures[:4]))


def test_jpegs_are_reduced_by_averages_in_other_browsers(browser: Any, site: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    context.route(
        "**/worker.js",
        lambda route: route.fulfill(
            response=(response := route.fetch()),
            body="delete self.ImageDecoder;" + response.text(),
        ),
    )
    page.goto(site + "blank.html")
    page.evaluate(OPEN)
    image = scene(*FIVE_FACES, size=(1500, 1000))
    pictures = [encode(image, "JPEG", **JPEG_KINDS[kind]) for kind in ("plain", "turned")]
    for picture, found in zip(pictures, classify(page, pictures), strict=True):
        assert np.abs(read_face(picture).ravel().astype(int) - found["pixels"]).max() <= 2
    compare_faces(
        FaceClassifier(keep_crops=True), pictures, find_faces(page, pictures), crop_tolerance=8
    )
    context.close()


def test_orientation_of_webp_files_is_read(page: Any) -> None:
    image = Image.fromarray(draw_probe())
    pictures = [
        encode(image, "WEBP", lossless=True, exif=with_orientation(value)) for value in range(1, 9)
    ]
    for picture, found in zip(pictures, classify(page, pictures), strict=True):
        assert found["pixels"] == read_face(picture).ravel().tolist()


def test_pictures_may_be_of_any_kind_and_stay_open(page: Any) -> None:
    data = encode(scene(("happy_01", 130, (40, 60)), size=(240, 260)))
    results = page.evaluate(
        """async (text) => {
          const blob = toBlob(text);
          const bitmap = await createImageBitmap(blob);
          const canvas = Object.assign(document.createElement("canvas"),
            { width: bitmap.width, height: bitmap.height });
          const context = canvas.getContext("2d");
          context.drawImage(bitmap, 0, 0);
          const image = Object.assign(new Image(), { src: URL.createObjectURL(blob) });
          await image.decode();
          const offscreen = new OffscreenCanvas(bitmap.width, bitmap.height);
          offscreen.getContext("2d").drawImage(bitmap, 0, 0);
          const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
          const pictures = [blob, bitmap, bitmap, canvas, offscreen, image, pixels];
          return Promise.all(pictures.map(async (one) => toPlain(await edge.classify(one))));
        }""",
        base64.b64encode(data).decode(),
    )
    expected = read_face(data).ravel().tolist()
    assert [one["pixels"] == expected for one in results] == [True] * 7


def test_model_is_described(page: Any) -> None:
    model, check = page.evaluate("[edge.model, edge.selfTest]")
    classifier = EmotionClassifier()
    assert model["digest"] == classifier.model_sha256
    assert (model["name"], model["labels"]) == ("edge-int8", list(classifier.labels))
    assert model["minConfidence"] == classifier.min_confidence
    assert check["network"]["inputs"] == len(classifier.contract.golden.pixels)


def test_output_other_is_given(page: Any, tmp_path: Path) -> None:
    path = band_model(tmp_path / "m.onnx", other_threshold=0.5)
    picture = encode(Image.fromarray(dark_face()))
    model, found = page.evaluate(
        """async ([file, picture]) => {
          const bytes = new Uint8Array(await toBlob(file).arrayBuffer());
          const other = await EmotionEdge.open({ model: bytes });
          const result = await other.classify(toBlob(picture));
          other.close();
          return [other.model, result];
        }""",
        [base64.b64encode(one).decode() for one in (path.read_bytes(), picture)],
    )
    ours = EmotionClassifier(path).predict(picture)
    assert (model["name"], model["otherThreshold"]) == (None, 0.5)
    assert (found["label"], ours.label) == ("other", "other")
    assert found["other"] == pytest.approx(ours.other, abs=1e-5)
    assert found["confidence"] == found["other"]


FAIL = """async (call) => {
  try {
    await eval(`(async () => ${call})()`);
  } catch (error) {
    return [error.name, error.message];
  }
}"""


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ("EmotionEdge.open({ model: '/missing.onnx' })", "Error", "cannot be loaded .404"),
        ("EmotionEdge.open({ model: '/blank.html' })", "Error", "sends a web page in its place"),
        ("EmotionEdge.open({ model: PACKAGE + '/LICENSE' })", "Error", "not ONNX"),
        ("EmotionEdge.open({ model: new Uint8Array(0) })", "Error", "no emotion-edge contract"),
        ("EmotionEdge.open({ model, runtime: '/no/' })", "Error", "404|could not be started"),
        ("EmotionEdge.open({})", "TypeError", "address of the model file"),
        (
            "EmotionEdge.open({ model, detector: '/no' })"
            ".then((one) => one.faces(new ImageData(9, 9)))",
            "Error",
            "face detector cannot be loaded",
        ),
        ("edge.classify('face.png')", "TypeError", "A picture is a Blob"),
        ("edge.classify(new Blob(['no picture']))", "Error", "Not a picture"),
        ("edge.faces(new ImageData(9, 9), { threshold: NaN })", "RangeError", "from 0 to 1"),
        ("edge.faces(new ImageData(9, 9), { minFace: NaN })", "RangeError", "at least 12"),
        ("edge.watch(null, { detectEvery: 0.5 }).next()", "RangeError", "whole number"),
    ],
)
def test_failures_are_one_sentence(page: Any, call: str, kind: str, message: str) -> None:
    name, text = page.evaluate(FAIL, call.replace("PACKAGE", f"'/{PACKAGE}'"))
    assert name == kind
    assert re.search(message, text)


def test_work_can_be_cancelled(page: Any) -> None:
    """An aborted request is rejected, others are finished; `close` rejects the rest."""
    outcomes = page.evaluate(
        """async () => {
          const own = await EmotionEdge.open({ model });
          const picture = new ImageData(300, 300);
          const control = new AbortController();
          const first = [
            own.classify(picture),
            own.faces(picture, { signal: control.signal }),
            own.classify(picture, { signal: control.signal }),
            own.classify(picture),
          ];
          await Promise.resolve();
          control.abort();
          const late = own.classify(picture, { signal: control.signal });
          const settled = await Promise.allSettled([...first, late]);
          const last = own.faces(picture);
          await new Promise((resolve) => setTimeout(resolve));
          own.close();
          settled.push(...(await Promise.allSettled([last, own.classify(picture)])));
          const opening = new AbortController();
          const opened = EmotionEdge.open({ model, signal: opening.signal });
          opening.abort();
          settled.push(...(await Promise.allSettled([opened])));
          return settled.map(({ status, reason }) => reason?.name ?? status);
        }"""
    )
    aborted, closed = "AbortError", "Error"
    assert outcomes[:5] == ["fulfilled", aborted, aborted, "fulfilled", aborted]
    assert outcomes[5:] == [closed, closed, aborted]


def test_loading_shows_the_bytes(page: Any) -> None:
    progress = page.evaluate(
        """async () => {
          const seen = {};
          const onProgress = ({ file, loaded, total }) => (seen[file] = [loaded, total]);
          const own = await EmotionEdge.open({ model, onProgress });
          const before = Object.keys(seen);
          await own.faces(new ImageData(99, 99));
          own.close();
          return [before, seen];
        }"""
    )
    before, seen = progress
    assert "edge-int8.onnx.gz" in before
    assert not any("retinaface" in name for name in before)
    assert any("retinaface" in name for name in seen)
    assert all(loaded == total > 1000 for loaded, total in seen.values())


WATCH = """async ([text, options, end, count]) => {
  const scene = await createImageBitmap(toBlob(text));
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const context = canvas.getContext("2d");
  let position = 0;
  const draw = () => context.drawImage(scene, -(position++ % 20), 0);
  draw();
  const timer = setInterval(draw, 40);
  const video = Object.assign(document.createElement("video"), { muted: true });
  video.srcObject = canvas.captureStream();
  await video.play();
  const control = new AbortController();
  const frames = [];
  for await (const frame of edge.watch(video, { ...options, signal: control.signal })) {
    frames.push({ ...frame, faces: frame.faces.map(toPlain) });
    if (frames.length < count) continue;
    if (end === "break") break;
    if (end === "abort") control.abort();
    if (end === "ended") setTimeout(() => video.dispatchEvent(new Event("ended")));
  }
  clearInterval(timer);
  return frames;
}"""


def watched_scene() -> Image.Image:
    return scene(*FIVE_FACES[1:4], size=(700, 360))


def watch(page: Any, end: str, count: int, **options: float) -> list[dict[str, Any]]:
    text = base64.b64encode(encode(watched_scene())).decode()
    frames: list[dict[str, Any]] = page.evaluate(WATCH, [text, options, end, count])
    return frames


def test_faces_of_a_video_are_followed(page: Any) -> None:
    frames = watch(page, "break", 8)
    assert [one["frame"] for one in frames] == list(range(8))
    assert [one["searched"] for one in frames] == [n % 3 == 0 for n in range(8)]
    times = [one["time"] for one in frames]
    assert times[0] == 0
    assert times == sorted(set(times))
    for frame in frames:
        assert (frame["width"], frame["height"]) == (640, 360)
        assert frame["detectionSide"] in (240, 320)
        assert len(frame["faces"]) == 3
        for face in frame["faces"]:
            assert (face["detection_confidence"] is None) is not frame["searched"]
            assert sum(face["probabilities"].values()) == pytest.approx(1, abs=0.01)
    whole = FaceClassifier().predict(encode(watched_scene().crop((0, 0, 640, 360))))
    assert [one["label"] for one in frames[0]["faces"]] == [face.label for face in whole]
    assert [one["face"] for one in frames[0]["faces"]] == [1, 2, 3]
    assert [one["face"] for one in frames[1]["faces"]] == [1, 2, 3]
    assert frames[-1]["framesPerSecond"] > 0


@pytest.mark.parametrize("end", ["abort", "ended"])
def test_watching_ends_with_the_signal_and_with_the_video(page: Any, end: str) -> None:
    frames = watch(page, end, 2, detectEvery=1)
    assert 2 <= len(frames) <= 5  # some may come before the event
    assert all(one["searched"] for one in frames)


def test_video_is_watched_without_frame_callbacks(page: Any) -> None:
    """In browsers without requestVideoFrameCallback."""
    page.evaluate(
        "() => { self.callback = HTMLVideoElement.prototype.requestVideoFrameCallback; "
        "delete HTMLVideoElement.prototype.requestVideoFrameCallback; }"
    )
    try:
        assert len(watch(page, "break", 3)) == 3
    finally:
        page.evaluate(
            "() => { HTMLVideoElement.prototype.requestVideoFrameCallback = self.callback; }"
        )


def test_module_from_another_origin_is_used(browser: Any, site: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    other = site.replace("127.0.0.1", "localhost")
    allow = {"access-control-allow-origin": "*"}

    def fulfil(route: Any) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers={**response.headers, **allow})

    context.route(other + "**", fulfil)
    page.goto(site + "blank.html")
    page.evaluate(OPEN.replace('"/node_modules', f'"{other}node_modules'))
    data = (ROOT / "samples" / "sad_01.png").read_bytes()
    assert classify(page, [data])[0]["label"] == EmotionClassifier().predict(data).label
    context.close()


def test_firefox_finds_the_faces_of_the_runtime(site: str) -> None:
    program = find_firefox()
    if program is None:
        pytest.skip("Firefox is not installed (on Debian: apt-get install firefox-esr)")
    image = scene(*FIVE_FACES, size=(1500, 1000))
    exact = [encode(image), encode(image, "WEBP", lossless=True, exif=with_orientation(6))]
    jpegs = [encode(image, "JPEG"), encode(image, "JPEG", exif=with_orientation(6))]
    classifier = FaceClassifier(keep_crops=True)
    with Firefox(program) as firefox:
        firefox.open(site + "blank.html")
        firefox.evaluate(OPEN)
        for picture, found in zip(exact + jpegs, classify(firefox, exact + jpegs), strict=True):
            difference = np.abs(read_face(picture).ravel().astype(int) - found["pixels"]).max()
            assert difference <= (0 if picture in exact else 2)
        compare_faces(classifier, exact, find_faces(firefox, exact))
        compare_faces(classifier, jpegs, find_faces(firefox, jpegs), crop_tolerance=8)
        frames = watch(firefox, "break", 3)
    assert [len(one["faces"]) for one in frames] == [3, 3, 3]


def test_packing_is_reproducible_and_refuses_other_folders(
    page_folder: Path, tmp_path: Path
) -> None:
    script = ROOT / "scripts" / "pack_npm.py"
    made = []
    for name in ("one", "two"):
        command = [sys.executable, script, page_folder, "-o", tmp_path / name]
        subprocess.run(command, capture_output=True, check=True)
        path = tmp_path / name / f"emotion-edge-{emotion_runtime.__version__}.tgz"
        made.append(path.read_bytes())
    assert made[0] == made[1]
    refused = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "write the page with emotion-page first" in refused.stderr
