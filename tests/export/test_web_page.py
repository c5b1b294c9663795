"""The web page: the model file in real browsers, compared with the Python runtime."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

import emotion_models
from emotion_export.errors import PageError
from emotion_export.page.build import DETECTOR_FILE, write_page
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.errors import OutputError
from emotion_runtime.model.self_test import draw_probe
from firefox import Firefox, find_firefox
from synthetic import CLASSES, band_model, dark_face, save_face
from web_page import (
    RUNTIME_FILES,
    WAIT,
    open_with_change,
    read_refusal,
    saved_rows,
    serve,
    wait_for_rows,
)

MakePage = Callable[..., Result]
SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("[hs]*.png"))


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened and with a passed self-test."""
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    opened.goto(address)
    opened.wait_for_selector("#list .example")  # comes after the self-test, and enables Save
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def same_page(browser: Any, address: str) -> Iterator[Any]:
    """A page for tests that do not change it."""
    opened = browser.new_page()
    opened.goto(address)
    opened.wait_for_selector("#status.good")
    yield opened
    opened.close()


CLASSIFY = """async (encoded) => {
  const { EmotionEdge } = await import(new URL("emotion-edge.js", location.href));
  const model = new URL(document.body.dataset.model, location.href);
  const edge = await EmotionEdge.open({ model });
  const predictions = [];
  for (const text of encoded) {
    const blob = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const { label, probabilities, pixels } = await edge.classify(blob);
    predictions.push({ label, probabilities, pixels: Array.from(pixels) });
  }
  edge.close();
  return predictions;
}"""


def in_browser(page: Any, pictures: list[bytes]) -> list[dict[str, Any]]:
    """Classify pictures with the worker of the page, a page of Playwright or a `Firefox`."""
    encoded = [base64.b64encode(picture).decode("ascii") for picture in pictures]
    predictions: list[dict[str, Any]] = page.evaluate(CLASSIFY, encoded)
    return predictions


def test_browser_predicts_as_the_runtime_does(same_page: Any) -> None:
    compare_with_the_runtime(same_page)


def compare_with_the_runtime(page: Any) -> None:
    classifier = EmotionClassifier()
    predictions = in_browser(page, [path.read_bytes() for path in SAMPLES])
    worst = 0.0
    for path, prediction in zip(SAMPLES, predictions, strict=True):
        ours = classifier.predict(path)
        assert ours.probabilities is not None
        assert prediction["label"] == ours.label
        assert prediction["pixels"] == classifier.read(path).ravel().tolist()
        for label, share in ours.probabilities.items():
            worst = max(worst, abs(share - prediction["probabilities"][label]))
    assert worst < 1e-3


def encode_picture(image: Image.Image, kind: str, **options: Any) -> bytes:
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
        "colour": encode_picture(colour, "PNG"),
        "large": encode_picture(large, "PNG"),
        "tiny": encode_picture(colour.resize((9, 7)), "PNG"),
        "gray": encode_picture(large.convert("L"), "PNG"),
        "palette": encode_picture(large.quantize(64), "PNG"),
        "transparent": encode_picture(clear, "PNG"),
        "turned": encode_picture(colour, "PNG", exif=exif),
        "webp": encode_picture(large, "WEBP", lossless=True),
        "jpeg": encode_picture(large.convert("L").resize((90, 80)), "JPEG", quality=90),
    }


def test_browser_reads_pictures_as_training_does(same_page: Any) -> None:
    compare_pixels(same_page)


def compare_pixels(page: Any) -> None:
    pictures = pictures_of_many_kinds()
    predictions = in_browser(page, list(pictures.values()))
    for (name, data), prediction in zip(pictures.items(), predictions, strict=True):
        difference = np.abs(read_face(data).ravel().astype(int) - prediction["pixels"])
        assert difference.max() <= 1, name


# A script that alters canvas data, inserted before that of a worker. FIRST is the first call that
# is altered, CHANGE the change.
ALTER = """
const original = OffscreenCanvasRenderingContext2D.prototype.getImageData;
let calls = 0;
OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...area) {
  const data = original.apply(this, area);
  if (++calls >= FIRST) for (let i = 0; i < data.data.length; i += 997) data.data[i] ^= CHANGE;
  return data;
};
"""


def test_page_lists_its_checks(same_page: Any) -> None:
    assert same_page.inner_text("#status") == "Self-test passed in this browser"
    checks = same_page.text_content("#checked")
    inputs = len(EmotionClassifier().contract.golden.pixels)
    assert f"{inputs} golden inputs get the same labels as at export" in checks
    for kind in ("a PNG", "a rotated JPEG", "a transparent PNG", "a frame of a camera"):
        assert kind in checks
    assert "a resized picture) are read as in training, within " in checks


def test_browser_that_alters_canvas_data_is_refused(browser: Any, address: str) -> None:
    # By 2 of 255 in one byte of a thousand, as Firefox does in private windows.
    script = ALTER.replace("FIRST", "1").replace("CHANGE", "2")
    opened = open_with_change(browser, address, "worker.js", lambda text: script + text)
    kind, text, disabled = opened.evaluate(WAIT)
    assert (kind, disabled) == ("bad", True)
    assert "alters picture data; allow canvas data for this site" in text
    opened.context.close()


def test_browser_that_alters_canvas_data_later_is_refused(browser: Any, address: str) -> None:
    # After the four pictures of the check: in a user's picture, not in the reference.
    script = ALTER.replace("FIRST", "5").replace("CHANGE", "255").replace("997", "1")
    opened = open_with_change(browser, address, "worker.js", lambda text: script + text)
    opened.wait_for_selector("#status.good")
    opened.set_input_files("#file", [SAMPLES[0]])
    opened.wait_for_selector("#list .bad")
    assert "alters picture data" in opened.inner_text("#list")
    opened.context.close()


def test_browser_that_blocks_canvases_is_refused(browser: Any, address: str) -> None:
    script = "OffscreenCanvasRenderingContext2D.prototype.getImageData = () => { throw 1; };"
    opened = open_with_change(browser, address, "worker.js", lambda text: script + text)
    assert "allow canvas data for this site" in opened.evaluate(WAIT)[1]
    opened.context.close()


def test_kind_of_file_that_is_read_differently_is_reported(
    browser: Any, page_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(page_folder, tmp_path / "page")
    path = tmp_path / "page" / "reference.json.gz"
    values = json.loads(gzip.decompress(path.read_bytes()))
    turned = values["pictures"][1]
    pixels = np.frombuffer(base64.b64decode(turned["pixels"]), np.uint8)
    transposed = pixels.reshape(values["side"], -1).T  # as if the orientation were ignored
    turned["pixels"] = base64.b64encode(transposed.tobytes()).decode()
    path.write_bytes(gzip.compress(json.dumps(values).encode()))
    with serve(path.parent) as found:
        opened = browser.new_page()
        opened.goto(found)
        kind, text, disabled = opened.evaluate(WAIT)
        opened.close()
    assert (kind, disabled) == ("bad", True)
    assert "This browser reads a rotated JPEG differently than the training did" in text


def test_model_file_over_the_limit_is_refused(browser: Any, address: str) -> None:
    opened = open_with_change(
        browser, address, "contract.js", lambda text: text.replace("256 * 1024 ** 2", "10_000")
    )
    assert "is larger than" in opened.evaluate(WAIT)[1]
    opened.context.close()


@pytest.fixture(scope="module")
def firefox() -> Iterator[Firefox]:
    program = find_firefox()
    if program is None:
        pytest.skip("Firefox is not installed (on Debian: apt-get install firefox-esr)")
    with Firefox(program) as started:
        yield started


def test_firefox_predicts_as_the_runtime_does(firefox: Firefox, address: str) -> None:
    firefox.open(address)
    kind, text, disabled = firefox.evaluate(WAIT)
    assert (kind, disabled) == ("good", False), text
    compare_with_the_runtime(firefox)
    compare_pixels(firefox)


def test_firefox_that_resists_fingerprinting_is_refused(firefox: Firefox, address: str) -> None:
    """Tor Browser and LibreWolf have this setting; with the permission in the message it runs."""
    firefox.set_preference("privacy.resistFingerprinting", True)
    try:
        firefox.open(address)
        kind, text, disabled = firefox.evaluate(WAIT)
        assert (kind, disabled) == ("bad", True)
        assert text == (
            "This browser alters picture data; allow canvas data for this site, then reload the "
            "page."
        )
        firefox.allow_canvas_data(address)
        firefox.open(address)
        assert firefox.evaluate(WAIT)[0] == "good"
        compare_with_the_runtime(firefox)
    finally:
        firefox.set_preference("privacy.resistFingerprinting", False)


def test_page_shows_predictions_and_saves_them(page: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad, or not.png"
    bad.write_bytes(b"no picture")
    page.set_input_files("#file", [SAMPLES[0], bad, SAMPLES[-1]])
    wait_for_rows(page, 3)
    page.wait_for_selector("#list .bad")
    assert "surprise" in page.inner_text("#list li:nth-child(1)")  # the newest first
    assert "Not a picture that this browser can read." in page.inner_text("#list li:nth-child(2)")
    assert "happy" in page.inner_text("#list li:nth-child(3)")
    rows = saved_rows(page)
    assert [row["path"] for row in rows] == [SAMPLES[0].name, bad.name, SAMPLES[-1].name]
    assert [row["label"] for row in rows] == ["happy", "", "surprise"]
    assert float(rows[0]["happy"]) > 0.9
    assert rows[1]["error"]
    # Nothing is wider than a phone's screen.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#clear")
    assert page.locator("#list li").count() == 0


def test_page_shows_other(browser: Any, npm_package: Path, tmp_path: Path) -> None:
    model = band_model(tmp_path / "m.onnx", other_threshold=0.5)
    Image.fromarray(dark_face()).save(tmp_path / "dark.png")
    save_face(tmp_path / "happy.png", 0)
    folder = write_page(str(model), tmp_path / "page", runtime=npm_package)
    with serve(folder) as found:
        opened = browser.new_page()
        opened.goto(found)
        assert opened.evaluate(WAIT)[0] == "good"
        assert "other (neutral)" in opened.text_content("#about")
        opened.set_input_files("#file", [tmp_path / "dark.png", tmp_path / "happy.png"])
        wait_for_rows(opened, 2)
        rows = saved_rows(opened)
        assert opened.locator("#list li:last-child dt").all_inner_texts() == [*CLASSES, "other"]
        assert (
            opened.locator("#list li:last-child strong").count() == 0
        )  # no label is shown as sure
        assert opened.inner_text("#list li:last-child .head em") == "none of the labels"
        opened.close()
    classifier = EmotionClassifier(model)
    for row in rows:
        ours = classifier.predict(tmp_path / row["path"])
        assert row["label"] == ours.label
        assert float(row["confidence"]) == pytest.approx(ours.confidence, abs=1e-5)
        assert float(row["other"]) == pytest.approx(ours.other, abs=1e-5)


def test_page_checks_the_output_other(browser: Any, npm_package: Path, tmp_path: Path) -> None:
    path = band_model(tmp_path / "m.onnx", other_threshold=0.5, golden_other_offset=0.01)
    folder = write_page(str(path), tmp_path / "page", runtime=npm_package)
    with serve(folder) as found:
        opened = browser.new_page()
        opened.goto(found)
        kind, text, _ = opened.evaluate(WAIT)
        opened.close()
    assert kind == "bad"
    assert 'the output "other" differs' in text


def test_saved_cells_are_not_formulas(page: Any, tmp_path: Path) -> None:
    names = ["=1+2.png", "+1.png", "-1.png", "@sum.png", "\tx.png", 'a"b, c.png', "für.png"]
    for name in names:
        shutil.copyfile(SAMPLES[0], tmp_path / name)
    page.set_input_files("#file", [tmp_path / name for name in names])
    wait_for_rows(page, len(names))
    guarded = [f"'{name}" for name in names[:5]]
    assert [row["path"] for row in saved_rows(page)] == guarded + names[5:]


# A worker that delays its replies from the fourth on: after the model, the example and one picture.
SLOW = """
const own = self.postMessage.bind(self);
self.postMessage = (message) => setTimeout(() => own(message), message.id > 3 ? 100_000 : 0);
"""


def test_saved_list_marks_unfinished_pictures(browser: Any, address: str) -> None:
    opened = open_with_change(browser, address, "worker.js", lambda text: SLOW + text)
    opened.wait_for_selector("#list .example")
    opened.set_input_files("#file", SAMPLES[:2])
    wait_for_rows(opened, 1)
    rows = saved_rows(opened)
    assert [bool(row["label"]) for row in rows] == [True, False]
    assert rows[1]["error"] == "Not finished when the list was saved."
    opened.context.close()


def test_clear_cancels_what_runs(page: Any) -> None:
    page.evaluate("""() => {
      const transfer = new DataTransfer();
      for (let i = 0; i < 20; i++) transfer.items.add(new File(["x"], "x.png"));
      window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
      document.getElementById("clear").click();
    }""")
    assert page.locator("#save").is_disabled()  # otherwise it would save a header
    page.set_input_files("#file", SAMPLES[:1])  # is classified after what was not cancelled
    page.wait_for_selector("#list canvas")
    assert page.locator("#list > li").count() == 1
    assert [row["path"] for row in saved_rows(page)] == [SAMPLES[0].name]


def test_page_contacts_no_other_server_and_is_small(browser: Any, address: str) -> None:
    context = browser.new_context(service_workers="block")  # it loads the files again
    opened = context.new_page()
    loaded: dict[str, int] = {}  # what is loaded twice comes from the browser's cache
    context.on("response", lambda one: loaded.update({one.url: len(one.body())}))
    opened.goto(address)
    opened.wait_for_selector("#list .example")
    first_result = sum(size for url, size in loaded.items() if url.startswith(address))
    assert not any(DETECTOR_FILE in url for url in loaded)
    opened.click("#samples li:last-child button")
    opened.wait_for_selector("#list .photograph")
    with_detector = sum(size for url, size in loaded.items() if url.startswith(address))
    assert all(url.startswith((address, "data:", "blob:")) for url in loaded), loaded
    context.close()
    assert 1_000_000 < first_result < 2_800_000
    assert with_detector < 4_200_000


def test_page_can_be_used_with_the_keyboard(page: Any) -> None:
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["SUMMARY", "file", "camera", "BUTTON"]
    page.keyboard.press("Enter")
    wait_for_rows(page, 1)


def test_browser_without_wasm_is_reported(browser: Any, address: str) -> None:
    opened = browser.new_page()
    opened.add_init_script("delete self.WebAssembly")
    assert "no WebAssembly" in read_refusal(opened, address)
    opened.close()


def test_damaged_model_is_reported(
    browser: Any, page_folder: Path, tmp_path: Path, npm_package: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (model,) = folder.glob("*.onnx.gz")
    packed = model.read_bytes()
    whole = gzip.decompress(packed)
    with serve(folder) as found:
        for data, sentence in [
            (packed[: len(packed) // 2], "damaged"),
            (whole[: len(whole) // 2], "damaged"),  # a host may decompress the file
            (whole.replace(b"bilinear-antialias", b"nearest-neighbours"), "does not support"),
            (whole.replace(b"contract_version", b"contract_versiom"), "no emotion-edge contract"),
        ]:
            model.write_bytes(data)
            opened = browser.new_page()
            assert sentence in read_refusal(opened, found)
            opened.close()


def test_changed_weight_fails_the_self_test_of_the_page(
    browser: Any, page_folder: Path, tmp_path: Path
) -> None:
    import onnx

    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (path,) = folder.glob("*.onnx.gz")
    model = onnx.load_from_string(gzip.decompress(path.read_bytes()))
    bias = next(one for one in model.graph.initializer if one.data_type in (1, 6) and one.dims)
    values = onnx.numpy_helper.to_array(bias)
    changed = onnx.numpy_helper.from_array(values * 0 + values.max() * 3, bias.name)
    bias.CopyFrom(changed)
    path.write_bytes(gzip.compress(model.SerializeToString()))
    with serve(folder) as found:
        opened = browser.new_page()
        assert "Do not trust its results" in read_refusal(opened, found)
        opened.close()


def test_network_with_outputs_that_are_not_finite_is_refused(
    browser: Any, page_folder: Path, tmp_path: Path
) -> None:
    import onnx

    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (path,) = folder.glob("*.onnx.gz")
    model = onnx.load_from_string(gzip.decompress(path.read_bytes()))
    bias = next(one for one in model.graph.initializer if one.data_type == 1 and one.dims)
    values = onnx.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx.numpy_helper.from_array(values * np.float32("nan"), bias.name))
    path.write_bytes(gzip.compress(model.SerializeToString()))
    with serve(folder) as found:
        opened = browser.new_page()
        opened.goto(found)
        kind, text, disabled = opened.evaluate(WAIT)
        opened.close()
    assert (kind, disabled) == ("bad", True)
    assert "Do not trust" in text or "not finite" in text


def test_file_names_and_labels_are_escaped(browser: Any, npm_package: Path, tmp_path: Path) -> None:
    """Any name that file systems and the rules of labels allow; labels keep their order."""
    import onnx

    name = "http:we #1?50%2F\\a&<script>alert(1)<b>\"'ü$x"
    labels = ["2 <img src=x onerror=alert(1)>", "10", "1"]
    model = onnx.load(EmotionClassifier().model_path)
    for pair in model.metadata_props:
        if pair.key == "emotion_edge.labels":
            pair.value = json.dumps(labels)
        if pair.key == "emotion_edge.metrics":
            pair.value = json.dumps({"note": "</pre>"})
    onnx.save(model, tmp_path / f"{name}.onnx")
    folder = write_page(str(tmp_path / f"{name}.onnx"), tmp_path / "page", runtime=npm_package)
    with serve(folder) as found:
        opened = browser.new_page()
        opened.goto(found + "card.html")
        assert opened.title() == f"emotion-edge: about {name}"
        assert opened.inner_text("h1") == name
        assert labels[0] in opened.inner_text("pre")
        assert "</pre>" in opened.inner_text("pre")
        assert opened.locator("img, script, b").count() == 0
        opened.goto(found)
        assert opened.title() == f"emotion-edge: {name}"
        assert opened.evaluate(WAIT)[0] == "good"
        opened.set_input_files("#file", [SAMPLES[0]])
        opened.wait_for_selector("#list canvas")
        assert opened.locator("dt").all_inner_texts() == [*labels, "other"]
        assert opened.locator("img, b").count() == 0
        opened.close()


def test_command_writes_the_page_of_a_file(
    make_page: MakePage, npm_archive: Path, model_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    arguments = [model_file, "-o", folder, "--onnxruntime-web", npm_archive]
    made = make_page(*arguments)
    assert made.exit_code == 0
    assert f"next: python -m http.server --directory {folder}" in made.stderr
    assert gzip.decompress((folder / "bands.onnx.gz").read_bytes()) == model_file.read_bytes()
    assert "bands" in (folder / "index.html").read_text()
    again = make_page(*arguments)
    assert again.exit_code == 1
    assert "--overwrite replaces it" in again.stderr
    replaced = make_page(*arguments, "--overwrite", "-q")
    assert (replaced.exit_code, replaced.output) == (0, "")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    refused = make_page(
        model_file, "-o", tmp_path / "mine", "--onnxruntime-web", npm_archive, "--overwrite"
    )
    assert refused.exit_code == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_another_onnxruntime_web_is_refused(
    make_page: MakePage, model_file: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "package" / "dist"
    fake.mkdir(parents=True)
    arguments = [model_file, "-o", tmp_path / "page", "--onnxruntime-web", fake.parent]
    assert "not the npm package" in make_page(*arguments).stderr
    for name in RUNTIME_FILES:
        (fake / name).write_bytes(b"other")
    result = make_page(*arguments)
    assert result.exit_code == 1
    assert "is not that of onnxruntime-web" in result.stderr
    assert not (tmp_path / "page").exists()


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def made_page(npm_package: Path, model_file: Path, tmp_path: Path) -> Path:
    return write_page(str(model_file), tmp_path / "made" / "page", runtime=npm_package)


def test_links_to_a_folder_are_followed(
    npm_package: Path, model_file: Path, made_page: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(made_page)
    write_page(str(model_file), tmp_path / "link", runtime=npm_package, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (made_page / "index.html").is_file()
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    write_page(str(model_file), tmp_path / "dangling", runtime=npm_package)
    assert (tmp_path / "new" / "index.html").is_file()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(str(model_file), tmp_path / "circle", runtime=npm_package)


def test_target_that_is_not_a_folder_is_refused(
    make_page: MakePage, npm_package: Path, model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("keep")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "pipe"):
        with pytest.raises(OutputError, match="is a file"):
            write_page(str(model_file), tmp_path / name, runtime=npm_package, overwrite=True)
    assert (tmp_path / "file").read_text() == "keep"


@pytest.mark.parametrize("name", ["CNAME", ".git", "ort/mine.wasm", "mine.onnx.gz"])
def test_folder_with_other_files_is_not_replaced(
    npm_package: Path, model_file: Path, made_page: Path, name: str
) -> None:
    (made_page / name).write_text("mine")
    before = files_in(made_page)
    with pytest.raises(OutputError, match="which no page has"):
        write_page(str(model_file), made_page, runtime=npm_package, overwrite=True)
    assert files_in(made_page) == before


def test_build_is_reproducible(npm_package: Path, made_page: Path, model_file: Path) -> None:
    before = files_in(made_page)
    write_page(str(model_file), made_page, runtime=npm_package, overwrite=True)
    assert files_in(made_page) == before


def test_page_of_an_earlier_version_is_replaced(
    npm_package: Path, made_page: Path, model_file: Path
) -> None:
    before = files_in(made_page)
    for name in ("ort/ort.wasm.min.mjs", "ort/ort-wasm-simd-threaded.wasm"):
        (made_page / name).touch()
    (made_page / "bands.onnx.gz").rename(made_page / "bands.onnx")
    write_page(str(model_file), made_page, runtime=npm_package, overwrite=True)
    assert files_in(made_page) == before


@pytest.mark.parametrize("failing", ["copyfile", "rename"])
def test_interrupted_command_keeps_the_earlier_page(
    npm_package: Path,
    model_file: Path,
    made_page: Path,
    failing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = files_in(made_page)
    copy, rename = shutil.copyfile, Path.rename

    def fail_to_copy(source: Path, target: Path) -> Path:
        if target.name == "style.css":
            raise KeyboardInterrupt
        return Path(copy(source, target))

    def fail_to_rename(self: Path, target: Path) -> Path:
        if self.name == "page" and self.parent.name.startswith(".page."):
            raise KeyboardInterrupt
        return rename(self, target)

    if failing == "copyfile":
        monkeypatch.setattr(shutil, "copyfile", fail_to_copy)
    else:
        monkeypatch.setattr(Path, "rename", fail_to_rename)
    with pytest.raises(KeyboardInterrupt):
        write_page(str(model_file), made_page, runtime=npm_package, overwrite=True)
    assert files_in(made_page) == before
    assert [path.name for path in made_page.parent.iterdir()] == ["page"]


def test_private_folder_keeps_its_mode(
    npm_package: Path, model_file: Path, made_page: Path
) -> None:
    made_page.chmod(0o700)
    write_page(str(model_file), made_page, runtime=npm_package, overwrite=True)
    assert stat.S_IMODE(made_page.stat().st_mode) == 0o700


def test_current_folder_is_not_replaced(
    npm_package: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(OutputError, match="the current folder"):
        write_page(str(model_file), Path(), runtime=npm_package)


def test_model_file_that_a_page_cannot_load_is_refused(
    npm_package: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "a\x1bb.onnx"
    shutil.copyfile(model_file, odd)
    with pytest.raises(PageError, match="rename the file"):
        write_page(str(odd), tmp_path / "page", runtime=npm_package)
    monkeypatch.setattr("emotion_export.page.build.MAX_MODEL_BYTES", 1000)
    with pytest.raises(PageError, match="at most"):
        write_page(str(model_file), tmp_path / "page", runtime=npm_package)
    assert not (tmp_path / "page").exists()


def test_damaged_package_is_refused(npm_archive: Path, model_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(npm_archive.read_bytes()[:2_000_000])
    circle = tmp_path / "circle.tgz"
    with tarfile.open(circle, "w:gz") as archive:
        member = tarfile.TarInfo("package/dist/ort.wasm.min.mjs")
        member.type, member.linkname = tarfile.SYMTYPE, "ort.wasm.min.mjs"
        archive.addfile(member)
    pipe = tmp_path / "pipe.tgz"
    os.mkfifo(pipe)
    empty = tmp_path / "empty.tgz"
    empty.touch()
    for package in (cut, circle, pipe, empty):
        with pytest.raises(PageError, match="not the npm package onnxruntime-web"):
            write_page(str(model_file), tmp_path / "page", runtime=package)
    assert not (tmp_path / "page").exists()


def test_npm_without_a_network_gives_one_sentence(
    make_page: MakePage, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\n"
        "echo 'npm error network request to the registry failed' >&2\nexit 1\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = make_page(model_file, "-o", tmp_path / "page")
    assert result.exit_code == 1
    assert "(network request to the registry failed); without a network, " in result.stderr
    assert "--onnxruntime-web" in result.stderr
    npm.chmod(0o644)
    npm.write_bytes(b"no program")
    npm.chmod(0o755)
    result = make_page(model_file, "-o", tmp_path / "page")
    assert result.exit_code == 1
    assert "npm could not download" in result.stderr


def test_missing_npm_is_reported(
    make_page: MakePage, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = make_page(model_file, "-o", tmp_path / "page")
    assert result.exit_code == 1
    assert "npm is not installed" in result.stderr


def test_page_of_a_file_without_contract_is_refused(make_page: MakePage, tmp_path: Path) -> None:
    detector = emotion_models.detector_path("retinaface")
    result = make_page(detector, "-o", tmp_path / "page")
    assert result.exit_code == 1
    assert "without the emotion-edge contract" in result.stderr
