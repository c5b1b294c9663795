"""The page: the model file in a real browser, beside the Python runtime."""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import io
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

import emotion_models
from emotion_export.web_page import ONNXRUNTIME_WEB
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.probe import draw_probe

Export = Callable[..., Result]
SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.png"))


@pytest.fixture(scope="session")
def npm_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """onnxruntime-web, fetched once."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which fetches onnxruntime-web")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, "pack", "--silent", f"onnxruntime-web@{ONNXRUNTIME_WEB}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch onnxruntime-web here: {done.stderr.strip()[:200]}")
    (package,) = folder.glob("*.tgz")
    return package


@pytest.fixture(scope="session")
def page_folder(npm_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from emotion_export.web_page import write_page

    folder = tmp_path_factory.mktemp("page") / "page"
    return write_page(None, folder, runtime=npm_package)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; give its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def address(page_folder: Path) -> Iterator[str]:
    with served(page_folder) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened and proven."""
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    opened.goto(address)
    opened.wait_for_selector("#status.good")
    yield opened
    opened.close()


ASK = """async (encoded) => {
  const worker = new Worker("worker.js", { type: "module" });
  const ask = (message) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { error, result } }) =>
      error ? reject(new Error(error)) : resolve(result);
    worker.postMessage({ id: 1, ...message });
  });
  await ask({ model: new URL(document.body.dataset.model, location.href).href });
  const answers = [];
  for (const text of encoded) {
    const blob = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const { label, probabilities, pixels } = await ask({ blob });
    answers.push({ label, probabilities, pixels: Array.from(pixels) });
  }
  worker.terminate();
  return answers;
}"""


def in_browser(page: Any, pictures: list[bytes]) -> list[dict[str, Any]]:
    """Give pictures to the page's own worker."""
    encoded = [base64.b64encode(picture).decode("ascii") for picture in pictures]
    answers: list[dict[str, Any]] = page.evaluate(ASK, encoded)
    return answers


def test_browser_answers_as_the_runtime_does(page: Any) -> None:
    classifier = EmotionClassifier()
    answers = in_browser(page, [path.read_bytes() for path in SAMPLES])
    worst = 0.0
    for path, answer in zip(SAMPLES, answers, strict=True):
        ours = classifier.predict(path)
        assert ours.probabilities is not None
        assert answer["label"] == ours.label
        assert answer["pixels"] == classifier.read(path).ravel().tolist()
        for label, share in ours.probabilities.items():
            worst = max(worst, abs(share - answer["probabilities"][label]))
    assert worst < 1e-3


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures_of_many_kinds() -> dict[str, bytes]:
    colour = Image.fromarray(draw_probe())
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize((601, 397))
    clear = large.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "colour": encoded(colour, "PNG"),
        "large": encoded(large, "PNG"),
        "tiny": encoded(colour.resize((9, 7)), "PNG"),
        "gray": encoded(large.convert("L"), "PNG"),
        "palette": encoded(large.quantize(64), "PNG"),
        "transparent": encoded(clear, "PNG"),
        "turned": encoded(colour, "PNG", exif=exif),
        "webp": encoded(large, "WEBP", lossless=True),
        "jpeg": encoded(large.convert("L").resize((90, 80)), "JPEG", quality=90),
    }


def test_browser_reads_pictures_as_training_does(page: Any) -> None:
    pictures = pictures_of_many_kinds()
    answers = in_browser(page, list(pictures.values()))
    for (name, data), answer in zip(pictures.items(), answers, strict=True):
        difference = np.abs(read_face(data).ravel().astype(int) - answer["pixels"])
        assert difference.max() <= 1, name


def test_page_shows_answers_and_saves_them(page: Any, tmp_path: Path) -> None:
    assert "Proven here: " in page.inner_text("#status")
    bad = tmp_path / "bad, or not.png"
    bad.write_bytes(b"no picture")
    page.set_input_files("#file", [SAMPLES[0], bad, SAMPLES[-1]])
    page.wait_for_function("document.querySelectorAll('#list canvas').length === 2")
    page.wait_for_selector("#list .bad")
    assert "happy" in page.inner_text("#list li:nth-child(1)")
    assert "not a picture" in page.inner_text("#list li:nth-child(2)")
    assert "surprise" in page.inner_text("#list li:nth-child(3)")
    with page.expect_download() as download:
        page.click("#save")
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [row["path"] for row in rows] == [SAMPLES[0].name, bad.name, SAMPLES[-1].name]
    assert [row["label"] for row in rows] == ["happy", "", "surprise"]
    assert float(rows[0]["happy"]) > 0.9
    assert rows[1]["error"]
    # Nothing is wider than a phone.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#clear")
    assert page.locator("#list li").count() == 0


def test_page_asks_nobody_else_and_is_small(browser: Any, address: str, page_folder: Path) -> None:
    context = browser.new_context()
    opened = context.new_page()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("#status.good")
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked
    context.close()
    sizes = {path: path.stat().st_size for path in page_folder.rglob("*") if path.is_file()}
    wasm = sum(size for path, size in sizes.items() if path.suffix == ".wasm")
    assert sum(sizes.values()) < 15_000_000
    assert sum(sizes.values()) - wasm < 2_000_000


def test_page_is_used_by_keyboard(page: Any) -> None:
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.href"))
    assert reached[:2] == ["file", "camera"]
    assert any("card.html" in one for one in reached)


def test_camera_that_is_refused_is_a_sentence(page: Any) -> None:
    page.click("#camera")
    page.wait_for_function("document.getElementById('hint').textContent !== ''")
    assert page.inner_text("#hint").startswith("The camera cannot be used: ")
    page.set_input_files("#file", [SAMPLES[0]])  # and the page goes on
    page.wait_for_selector("#list canvas")


def test_camera_is_classified(address: str, browser: Any) -> None:
    """Chromium's own fake camera, which beeps and turns; any answer will do."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with tempfile.TemporaryDirectory() as profile:
        context = browser.browser_type.launch_persistent_context(
            profile, executable_path=program, args=flags
        )
        opened = context.new_page()
        opened.goto(address)
        opened.wait_for_selector("#status.good")
        opened.click("#camera")
        opened.wait_for_selector("#video:not([hidden])")
        opened.click("#camera")
        opened.wait_for_selector("#list canvas")
        opened.click("#stop")
        assert opened.locator("#video").is_hidden()
        context.close()


def test_browser_without_wasm_is_told(browser: Any, address: str) -> None:
    opened = browser.new_page()
    opened.add_init_script("delete self.WebAssembly")
    opened.goto(address)
    opened.wait_for_selector("#status.bad")
    assert "no WebAssembly" in opened.inner_text("#status")
    opened.close()


def test_damaged_model_is_told(
    browser: Any, page_folder: Path, tmp_path: Path, npm_package: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (model,) = folder.glob("*.onnx")
    whole = model.read_bytes()
    with served(folder) as found:
        for data, sentence in [
            (whole[: len(whole) // 2], "damaged"),
            (whole.replace(b"bilinear-antialias", b"nearest-neighbours"), "does not do"),
            (whole.replace(b"contract_version", b"contract_versiom"), "no emotion-edge contract"),
        ]:
            model.write_bytes(data)
            opened = browser.new_page()
            opened.goto(found)
            opened.wait_for_selector("#status.bad")
            assert sentence in opened.inner_text("#status")
            opened.close()


def test_another_weight_fails_the_proof_in_the_page(
    browser: Any, page_folder: Path, tmp_path: Path
) -> None:
    import onnx

    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (path,) = folder.glob("*.onnx")
    model = onnx.load(path)
    bias = next(one for one in model.graph.initializer if one.data_type in (1, 6) and one.dims)
    values = onnx.numpy_helper.to_array(bias)
    changed = onnx.numpy_helper.from_array(values * 0 + values.max() * 3, bias.name)
    bias.CopyFrom(changed)
    onnx.save(model, path)
    with served(folder) as found:
        opened = browser.new_page()
        opened.goto(found)
        opened.wait_for_selector("#status.bad")
        assert "not to be trusted" in opened.inner_text("#status")
        opened.close()


def test_command_writes_the_page_of_a_file(
    export: Export, npm_package: Path, model_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    arguments = [model_file, "--page", folder, "--onnxruntime-web", npm_package]
    assert export(*arguments).exit_code == 0
    assert (folder / "bands.onnx").read_bytes() == model_file.read_bytes()
    assert "bands" in (folder / "index.html").read_text()
    again = export(*arguments)
    assert again.exit_code == 1
    assert "--overwrite replaces it" in again.stderr
    assert export(*arguments, "--overwrite").exit_code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    refused = export(
        model_file, "--page", tmp_path / "mine", "--onnxruntime-web", npm_package, "--overwrite"
    )
    assert refused.exit_code == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_another_onnxruntime_web_is_refused(
    export: Export, model_file: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "package" / "dist"
    fake.mkdir(parents=True)
    arguments = [model_file, "--page", tmp_path / "page", "--onnxruntime-web", fake.parent]
    assert "not the npm package" in export(*arguments).stderr
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (fake / name).write_bytes(b"other")
    result = export(*arguments)
    assert result.exit_code == 1
    assert "is not that of onnxruntime-web" in result.stderr
    assert not (tmp_path / "page").exists()


def test_missing_npm_is_named(
    export: Export, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = export(model_file, "--page", tmp_path / "page")
    assert result.exit_code == 1
    assert "npm is not installed" in result.stderr


def test_page_of_a_file_without_contract_is_refused(export: Export, tmp_path: Path) -> None:
    detector = emotion_models.detector_path("retinaface")
    result = export(detector, "--page", tmp_path / "page")
    assert result.exit_code == 1
    assert "without the emotion-edge contract" in result.stderr


def test_card_is_legible_html() -> None:
    from emotion_export.card_html import card_html

    text = card_html(
        "# a <b>\n\nOne **two** [three](x.md)\nfour.\n\n| k | v |\n| --- | ---: |\n| x | `y` |\n"
        "\n- first\n- second\n\n```sh\nrun -a < b\n```\n"
    )
    assert text.splitlines() == [
        "<h1>a &lt;b&gt;</h1>",
        "<p>One <strong>two</strong> three four.</p>",
        "<table><tr><td>k</td><td>v</td></tr><tr><td>x</td><td><code>y</code></td></tr></table>",
        "<ul><li>first</li><li>second</li></ul>",
        "<pre>run -a &lt; b</pre>",
    ]
