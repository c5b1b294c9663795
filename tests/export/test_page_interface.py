"""The interface of the web page: samples, many pictures, the camera, messages, offline."""

from __future__ import annotations

import base64
import io
import lzma
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emotion_export.page.build import write_page
from emotion_runtime import EmotionClassifier, FaceClassifier
from emotion_runtime.digest import compute_sha256
from firefox import Firefox, find_firefox
from synthetic import band_model, dark_face
from web_page import (
    WAIT,
    open_with_change,
    read_refusal,
    saved_rows,
    serve,
    wait_for_rows,
    wait_until,
)

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("[hs]*.png"))
SCENE = Path(write_page.__code__.co_filename).parent / "pictures" / "scene.webp"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page with the result of the example."""
    opened = browser.new_page()
    opened.goto(address)
    opened.wait_for_selector("#list .example")
    yield opened
    opened.close()


def drop(page: Any, files: dict[str, bytes], *, kind: str = "drop", text: str = "") -> None:
    """Drop or paste files, or a link."""
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    page.evaluate(
        """([files, kind, text]) => {
          const transfer = new DataTransfer();
          for (const [name, data] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
          }
          if (text) transfer.setData("text/uri-list", text);
          const event =
            kind === "drop"
              ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
              : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
          document.querySelector("h1").dispatchEvent(event);
        }""",
        [encoded, kind, text],
    )


# ---- a result without a file


def test_page_begins_with_a_result_and_samples(page: Any) -> None:
    assert page.inner_text("#list .example strong") == "happy"
    names = page.locator("#samples img").evaluate_all("(all) => all.map((one) => one.alt)")
    assert "an average of surprise faces" in names
    assert names[-1] == "a picture with several faces"
    page.click("#samples li:nth-child(2) button")
    wait_for_rows(page, 1)
    assert page.locator("#list .example").count() == 0  # one's own pictures replace it
    assert page.inner_text("#list li strong") == "sad"


def test_photograph_is_shown_with_its_faces(page: Any) -> None:
    page.click("#samples li:last-child button")
    page.wait_for_selector("#list .photograph")
    expected = FaceClassifier().predict(SCENE)
    labels = [one.label for one in expected]
    assert page.locator(".photograph .box").count() == len(expected)
    named = [label for label in labels if label != "other"]
    assert page.locator(".faces strong").all_inner_texts() == named
    rows = saved_rows(page)
    assert [row["label"] for row in rows] == labels
    for row, one in zip(rows, expected, strict=True):
        found = [int(row[side]) for side in ("x", "y", "width", "height")]
        assert np.abs(np.subtract(found, one.box)).max() <= 1
        assert float(row["detection_confidence"]) > 0.9
        assert (row["warning"], row["error"]) == ("", "")
        assert row["model_sha256"] == compute_sha256(EmotionClassifier().model_path)
    counts = page.locator("#filters button").all_inner_texts()
    assert counts == ["all 7", "happy 2", "sad 2", "surprise 2", "other 1"]


def test_model_with_other_labels_has_no_samples(
    browser: Any, npm_package: Path, tmp_path: Path
) -> None:
    labels = '["open", "closed", "hidden"]'
    path = band_model(tmp_path / "m.onnx", min_confidence=0.9, metadata={"labels": labels})
    Image.fromarray(dark_face()).save(tmp_path / "face.png")
    with serve(write_page(str(path), tmp_path / "page", runtime=npm_package)) as found:
        opened = browser.new_page()
        opened.goto(found)
        assert opened.evaluate(WAIT)[0] == "good"
        assert opened.locator("#samples").is_hidden()
        assert opened.locator("#list li").count() == 0
        # And what is below the confidence threshold of the file has no label in bold.
        opened.set_input_files("#file", [tmp_path / "face.png"])
        wait_for_rows(opened, 1)
        assert opened.locator("#list strong").count() == 0
        assert opened.inner_text("#list em") == "unsure, most likely open"
        assert saved_rows(opened)[0]["label"] == "uncertain"
        opened.close()


# ---- loading


def test_progress_is_shown_in_bytes(browser: Any, address: str) -> None:
    opened = browser.new_page()
    opened.add_init_script("""
      self.texts = [];
      const note = () => self.texts.push(document.getElementById("status")?.textContent);
      new MutationObserver(note).observe(document, { childList: true, subtree: true });
    """)
    opened.goto(address)
    opened.wait_for_selector("#status.good")
    texts = opened.evaluate("self.texts")
    sizes = [re.fullmatch(r"Loading the model: (.*) of (.*) MB", text or "") for text in texts]
    loaded = [(float(one[1]), float(one[2])) for one in sizes if one]
    assert loaded[-1][0] == loaded[-1][1] == pytest.approx(2.3, abs=0.2)
    assert loaded == sorted(loaded)
    opened.close()


def test_page_does_not_run_the_model_of_another_build(
    browser: Any, page_folder: Path, npm_package: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    path = band_model(tmp_path / "edge-int8.onnx")  # of the same name
    other = write_page(str(path), tmp_path / "other", runtime=npm_package)
    shutil.copyfile(other / "edge-int8.onnx.gz", folder / "edge-int8.onnx.gz")
    opened = browser.new_page()
    with serve(folder) as found:
        assert "not the one that this page was made for" in read_refusal(opened, found)
        assert opened.locator("#file").is_disabled()
    opened.close()


def test_kept_file_of_an_earlier_build_is_not_used(
    browser: Any, page_folder: Path, npm_package: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    path = band_model(tmp_path / "edge-int8.onnx")  # of the same name
    context = browser.new_context(service_workers="block")
    opened = context.new_page()
    # A host that lets the browser keep every file, the page itself too.
    with serve(folder, headers={"Cache-Control": "max-age=86400"}) as found:
        opened.goto(found)
        opened.wait_for_selector("#list .example")
        write_page(str(path), folder, runtime=npm_package, overwrite=True)
        opened.goto("about:blank")
        opened.goto(found)
        opened.wait_for_selector("#list .example")
        digest = opened.get_attribute("body", "data-sha256")
        assert digest == compute_sha256(path)
        assert saved_rows(opened)[0]["model_sha256"] == digest
    context.close()


def test_page_works_offline_until_a_new_build_replaces_it(
    browser: Any, npm_package: Path, page_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    context = browser.new_context()
    opened = context.new_page()
    with serve(folder) as found:
        opened.goto(found)
        wait_until(opened, "document.getElementById('offline').textContent")
        assert "without a connection" in opened.text_content("#offline")
        (before,) = opened.evaluate("caches.keys()")
    opened.reload()  # the server is gone
    opened.wait_for_selector("#list .example")
    port = int(found.rstrip("/").rsplit(":", 1)[1])
    path = band_model(tmp_path / "new.onnx")
    write_page(str(path), folder, runtime=npm_package, overwrite=True)
    with serve(folder, port):
        opened.reload()
        assert opened.evaluate(WAIT)[0] == "good"
        assert "new" in opened.title()
        wait_until(opened, f"!(await caches.keys()).includes({before!r})")
    opened.reload()
    assert opened.evaluate(WAIT)[0] == "good"
    assert "new" in opened.title()
    context.close()


def test_lzma_decoder_returns_what_python_compressed(page: Any) -> None:
    rng = np.random.default_rng(0)
    program = (SCENE.parent.parent / "worker.js").read_bytes() * 3
    contents = [
        *(b"a", b"abc" * 5000, program, rng.bytes(5000)),
        bytes(rng.integers(0, 4, 200_000, dtype=np.uint8)) + program + bytes(70_000),
    ]
    options = [
        {"lc": 3, "lp": 0, "pb": 2},
        {"lc": 0, "lp": 2, "pb": 0},
        {"lc": 4, "lp": 0, "pb": 0},
    ]
    packed = []
    for content in contents:
        for option in options:
            chain = [{"id": lzma.FILTER_LZMA1, "preset": 6} | option]
            data = bytearray(lzma.compress(content, format=lzma.FORMAT_ALONE, filters=chain))
            data[5:13] = len(content).to_bytes(8, "little")
            packed.append(bytes(data))
    decode = """async ([files, step]) => {
      const { LzmaDecoder } = await import(new URL("lzma.js", location.href));
      return files.map((file) => {
        const bytes = Uint8Array.from(atob(file), (one) => one.charCodeAt(0));
        try {
          const decoder = new LzmaDecoder(10_000_000);
          for (let i = 0; i < bytes.length; i += step) decoder.push(bytes.subarray(i, i + step));
          return Array.from(decoder.finish(), (one) => String.fromCharCode(one)).join("");
        } catch (error) {
          return error;
        }
      }).map((one) => (typeof one === "string" ? btoa(one) : { error: one.message }));
    }"""
    encoded = [base64.b64encode(data).decode() for data in packed]
    for step in (7, 100_000):
        for index, text in enumerate(page.evaluate(decode, [encoded, step])):
            assert base64.b64decode(text) == contents[index // len(options)]
    cut = [base64.b64encode(data[: len(data) // 2]).decode() for data in packed[6:]]
    cut += [base64.b64encode(b"\xff" * 100).decode(), ""]
    found = page.evaluate(decode, [cut, 1000])
    assert found == [{"error": "The file is damaged."}] * len(cut)


def test_missing_script_is_reported(browser: Any, page_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(page_folder, folder)
    (folder / "table.js").unlink()  # which results.js imports
    opened = browser.new_page()
    with serve(folder) as found:
        assert "A script of this page cannot be loaded." in read_refusal(opened, found)
    opened.close()


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("script-src 'self'", "Content-Security-Policy must allow 'wasm-unsafe-eval'"),
        (
            "require-trusted-types-for 'script'; trusted-types 'none'",
            "not allowed to start the worker",
        ),
        ("worker-src 'none'", "The network could not be started."),
    ],
)
def test_policy_of_the_server_that_is_too_strict_is_reported(
    browser: Any, page_folder: Path, policy: str, sentence: str
) -> None:
    opened = browser.new_page()
    with serve(page_folder, headers={"Content-Security-Policy": policy}) as found:
        assert sentence in read_refusal(opened, found)
    opened.close()


def test_photograph_that_the_page_may_not_show_is_searched_for_faces(
    browser: Any, page_folder: Path, tmp_path: Path
) -> None:
    Image.open(SCENE).convert("RGB").save(tmp_path / "photograph.png")
    opened = browser.new_page()
    with serve(page_folder, headers={"Content-Security-Policy": "img-src 'none'"}) as found:
        opened.goto(found)
        opened.wait_for_selector("#list .example")
        opened.set_input_files("#file", tmp_path / "photograph.png")
        wait_for_rows(opened, 1)
        assert opened.inner_text("#list .photograph .head").startswith("7 faces found")
    opened.close()


def test_frame_with_a_sandbox_is_reported(browser: Any, address: str, tmp_path: Path) -> None:
    frame = f'<!doctype html><iframe sandbox="allow-scripts" src="{address}"></iframe>'
    (tmp_path / "index.html").write_text(frame)
    opened = browser.new_page()
    with serve(tmp_path) as found:
        opened.goto(found)
        shown = opened.frame_locator("iframe").locator("#status.bad")
        shown.wait_for()
        assert "needs sandbox=" in shown.inner_text()
    opened.close()


def test_policy_of_the_documentation_is_enough(browser: Any, page_folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text(encoding="utf-8")
    (policy,) = re.findall(r"```\n(default-src .*?)```", text, re.DOTALL)
    headers = {"Content-Security-Policy": " ".join(policy.split())}
    opened = browser.new_page()
    with serve(page_folder, headers=headers) as found:
        opened.goto(found)
        opened.wait_for_selector("#list .example")
        opened.click("#samples li:last-child button")
        opened.wait_for_selector("#list .photograph")
    opened.close()


# ---- many pictures


def wait_for_request(page: Any, held: list[Any]) -> Any:
    """Wait until the page has requested the model file, which is not sent yet."""
    for _ in range(1000):
        if held:
            break
        page.wait_for_timeout(20)
    (route,) = held
    return route


def test_pictures_may_be_dropped_while_the_model_is_loaded(browser: Any, address: str) -> None:
    context = browser.new_context(service_workers="block")
    opened = context.new_page()
    held: list[Any] = []
    opened.context.route("**/*.onnx.gz", lambda route: held.append(route))
    opened.goto(address)
    drop(opened, {"early.png": SAMPLES[0].read_bytes()})
    wait_until(opened, "document.getElementById('left').textContent === '0 of 1 pictures'")
    assert opened.locator("#save").is_disabled()
    wait_for_request(opened, held).continue_()
    wait_for_rows(opened, 1)
    assert saved_rows(opened)[0]["label"] == "happy"
    assert opened.locator("#list .example").count() == 0
    context.close()


def test_pictures_that_are_dropped_where_the_model_fails_are_not_kept(
    browser: Any, address: str
) -> None:
    opened = browser.new_context(service_workers="block").new_page()
    held: list[Any] = []
    opened.context.route("**/*.onnx.gz", lambda route: held.append(route))
    opened.goto(address)
    drop(opened, {"early.png": SAMPLES[0].read_bytes()})
    wait_until(opened, "!document.getElementById('results').hidden")
    wait_for_request(opened, held).fulfill(body=b"no model")
    opened.wait_for_selector("#status.bad")
    assert opened.locator("#results").is_hidden()
    drop(opened, {"late.png": SAMPLES[0].read_bytes()})
    assert "no picture is read" in opened.inner_text("#hint")
    opened.context.close()


def test_example_is_not_counted(browser: Any, address: str) -> None:
    """A picture that is dropped while the example is classified replaces it."""
    delay = "const own = self.postMessage.bind(self); self.postMessage = (message) => "
    delay += "setTimeout(() => own(message), message.id > 1 ? 1500 : 0);"
    opened = open_with_change(browser, address, "worker.js", lambda text: delay + text)
    wait_until(opened, "!document.getElementById('results').hidden")  # the example is in work
    drop(opened, {"own.png": SAMPLES[0].read_bytes()})
    wait_for_rows(opened, 1)
    assert opened.text_content("#finished") == "1 picture is finished."
    assert opened.locator("#list > li").count() == 1
    opened.context.close()


def test_marks_of_direction_in_names_do_not_reverse_the_sentence(page: Any) -> None:
    name = "gnp.\u202etxt"
    drop(page, {name: b"no picture"})
    wait_for_rows(page, 1)
    assert page.text_content("#list .unreadable bdi") == name
    text = page.text_content("#list .unreadable")
    assert text == f"{name}: Not a picture that this browser can read."


def test_turned_webp_photograph_is_shown_upright(page: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright = Image.open(SCENE).convert("RGB")
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "WEBP", lossless=True, exif=exif)
    drop(page, {"phone.webp": buffer.getvalue()})
    page.wait_for_selector("#list .photograph")
    assert page.locator(".photograph .box").count() == 7
    image = page.locator(".photograph img")
    image.scroll_into_view_if_needed()
    wait_until(page, "document.querySelector('.photograph img').complete")
    shown = image.evaluate("(one) => [one.naturalWidth, one.naturalHeight]")
    assert shown == list(upright.size)


def test_pictures_are_counted_and_filtered(page: Any) -> None:
    files = {path.name: path.read_bytes() for path in SAMPLES[::3]}
    drop(page, {**files, "notes.txt": b"no picture"})
    wait_for_rows(page, len(files) + 1)
    assert page.inner_text("#list li:first-child").startswith("notes.txt")  # the newest first
    counts = page.locator("#filters button").all_inner_texts()
    assert counts == ["all 11", "happy 4", "sad 3", "surprise 3", "unreadable 1"]
    page.click("#filters button:nth-child(3)")
    assert page.locator("#list > li:visible").count() == 3
    assert page.get_attribute("#filters button:nth-child(3)", "aria-pressed") == "true"
    page.click("#filters button:first-child")
    assert page.locator("#list > li:visible").count() == 11
    assert page.text_content("#finished") == "11 pictures are finished."


def test_pasted_picture_and_links(page: Any, address: str) -> None:
    drop(page, {"pasted.png": SAMPLES[0].read_bytes()}, kind="paste")
    wait_for_rows(page, 1)
    drop(page, {}, text=f"{address}pictures/sad_03.png")
    wait_for_rows(page, 2)
    encoded = base64.b64encode(SAMPLES[-1].read_bytes()).decode()
    drop(page, {}, text=f"data:image/png;base64,{encoded}")
    wait_for_rows(page, 3)
    labels = page.locator("#list strong").all_inner_texts()
    assert labels == ["surprise", "sad", "happy"]
    for link, sentence in [
        ("file:///home/me/a.png", "file: is another place"),
        ("https://example.org/a.png", "example.org is another server"),
        (f"{address}missing.png", "missing.png cannot be loaded."),
        ("some words", "neither a picture nor a link"),
    ]:
        drop(page, {}, text=link)
        wait_until(page, f"document.getElementById('hint').textContent.includes({sentence!r})")


# ---- messages


def truncated(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.open(SCENE).resize((300, 170)).save(buffer, kind, **options)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


def damaged_png() -> bytes:
    """Return a PNG with a wrong bit in its data."""
    data = bytearray(SAMPLES[0].read_bytes())
    data[data.index(b"IDAT") + 400] ^= 1
    return bytes(data)


CUT_OFF = "The file is cut off; it ends before the picture does."
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
UNREADABLE = {
    "empty.png": (b"", "The file is empty."),
    "half.jpg": (truncated("JPEG"), CUT_OFF),
    "half_progressive.jpg": (truncated("JPEG", progressive=True), CUT_OFF),
    "half.png": (truncated("PNG"), CUT_OFF),
    "damaged.png": (damaged_png(), "The PNG file is damaged; its data do not have the checksum"),
    "half.gif": (truncated("GIF"), CUT_OFF),
    "half.webp": (truncated("WEBP"), "The WebP file is damaged"),
    "phone.heic": (HEIC, "A HEIC file, which this browser cannot read; save"),
    "scan.tif": (b"II*\0" + bytes(100), "A TIFF file, which this browser cannot read; save"),
    "letter.pdf": (b"%PDF-1.7" + bytes(100), "A PDF file, which this browser cannot read; save"),
    "new.avif": (b"\0\0\0\x18ftypavif" + bytes(100), "An AVIF file, which this browser cannot"),
    "drawing.svg": (
        b'<?xml version="1.0"?><!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "An SVG file, which this browser cannot read; save",
    ),
    "film.mp4": (b"\0\0\0\x18ftypisom" + bytes(100), "A video, not a picture."),
    "notes.txt": (b"no picture", "Not a picture that this browser can read."),
}


def test_each_unreadable_file_has_one_sentence(page: Any) -> None:
    drop(page, {name: data for name, (data, _) in UNREADABLE.items()})
    wait_for_rows(page, len(UNREADABLE))
    for row in saved_rows(page):
        assert row["error"].startswith(UNREADABLE[row["path"]][1]), row
        assert row["label"] == ""
    page.click("#clear")
    whole = {}
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):  # and nothing whole is refused
        buffer = io.BytesIO()
        Image.open(SAMPLES[0]).save(buffer, kind)
        whole[kind] = buffer.getvalue() + bytes(20)
    drop(page, whole)
    wait_for_rows(page, len(whole))
    assert {row["label"] for row in saved_rows(page)} == {"happy"}


def test_page_that_is_opened_from_a_file_explains_itself(browser: Any, page_folder: Path) -> None:
    opened = browser.new_page()
    assert "python -m http.server" in read_refusal(opened, (page_folder / "index.html").as_uri())
    opened.close()


def test_browser_without_simd_is_reported(browser: Any, address: str) -> None:
    opened = open_with_change(
        browser, address, "runtime.js", lambda text: f"WebAssembly.validate = () => false;{text}"
    )
    kind, text, _ = opened.evaluate(WAIT)
    assert kind == "bad"
    assert "no WebAssembly SIMD" in text
    opened.context.close()


def test_page_runs_under_its_content_security_policy(page: Any, address: str) -> None:
    tries = """async () => {
      const outcomes = {};
      document.body.dataset.script = "not run";
      try {
        document.body.insertAdjacentHTML("beforeend", "<img src=x>");
        outcomes.html = "inserted";
      } catch (error) {
        outcomes.html = error.name;
      }
      for (const url of ["https://example.org/", "http://127.0.0.1:9/"]) {
        outcomes[url] = await fetch(url).then(() => "sent", (error) => error.name);
      }
      return outcomes;
    }"""
    violations: list[str] = []
    page.on("console", lambda message: violations.append(message.text))
    outcomes = page.evaluate(tries)
    assert outcomes["html"] == "TypeError"  # needs a trusted type
    assert "sent" not in outcomes.values()
    assert sum("connect-src" in text for text in violations) >= 2


# ---- the camera


def test_refused_camera_gives_a_message(page: Any) -> None:
    page.click("#camera")
    wait_until(page, "document.getElementById('hint').textContent")
    assert page.inner_text("#hint").startswith("The camera cannot be used: ")
    page.set_input_files("#file", [SAMPLES[0]])  # and the page still works
    wait_for_rows(page, 1)


@pytest.fixture(scope="module")
def camera_page(address: str, browser: Any) -> Iterator[Any]:
    """The page in a Chromium with fake cameras, which show the scene of the page."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "scene.mjpeg"
        frame = Image.new("RGB", (640, 480), "gray")
        frame.paste(Image.open(SCENE).resize((640, 360)), (0, 60))
        buffer = io.BytesIO()
        frame.save(buffer, "JPEG", quality=95)
        video.write_bytes(buffer.getvalue() * 2)
        flags = ["--no-sandbox", "--use-fake-ui-for-media-stream"]
        flags += [
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={video}",
        ]
        context = browser.browser_type.launch_persistent_context(
            f"{folder}/profile", executable_path=program, args=flags
        )
        opened = context.new_page()
        opened.add_init_script("""
          self.tracks = [];
          const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wish) => {
            const stream = await original(wish);
            self.tracks.push(...stream.getTracks());
            return stream;
          };
        """)
        opened.goto(address)
        opened.wait_for_selector("#list .example")
        yield opened
        context.close()


def states(page: Any) -> list[str]:
    """Return the state of each camera that was opened: live or ended."""
    found: list[str] = page.evaluate("self.tracks.map((track) => track.readyState)")
    return found


SHOWS_FACES = "/faces: .* frames a second/.test(document.getElementById('seen').textContent)"


def test_live_camera_shows_faces_and_takes_pictures(camera_page: Any) -> None:
    camera_page.click("#camera")
    wait_until(camera_page, SHOWS_FACES)
    assert "7 faces: happy 2, sad 2, surprise 2, other 1" in camera_page.inner_text("#seen")
    drawn = camera_page.evaluate("""() => {
      const canvas = document.getElementById("overlay");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value > 0);
    }""")
    assert drawn
    camera_page.click("#snap")
    camera_page.wait_for_selector("#list .photograph")
    assert camera_page.locator(".photograph .box").count() == 7
    assert camera_page.inner_text(".photograph small").startswith("camera ")
    camera_page.click("#stop")
    assert camera_page.locator("#live").is_hidden()
    assert set(states(camera_page)) == {"ended"}
    seen = camera_page.text_content("#seen")
    camera_page.wait_for_timeout(300)
    assert camera_page.text_content("#seen") == seen  # nothing goes on


def test_several_quick_clicks_leave_no_camera_on(camera_page: Any) -> None:
    before = len(states(camera_page))
    camera_page.evaluate("""() => {
      for (let i = 0; i < 3; i++) document.getElementById("camera").click();
    }""")
    camera_page.wait_for_selector("#live:not([hidden])")
    camera_page.click("#stop")
    found = states(camera_page)
    assert len(found) == before + 1
    assert set(found) == {"ended"}
    # Stopped before the browser has opened it, and opened again at once.
    camera_page.evaluate("""() => {
      for (const id of ["camera", "stop", "camera"]) document.getElementById(id).click();
    }""")
    camera_page.wait_for_selector("#live:not([hidden])")
    wait_until(camera_page, f"self.tracks.length === {before + 3}")
    assert sorted(states(camera_page))[-2:] == ["ended", "live"]
    camera_page.click("#stop")
    assert set(states(camera_page)) == {"ended"}


def test_camera_that_cannot_be_shown_is_stopped(camera_page: Any) -> None:
    camera_page.evaluate("""() => {
      document.getElementById("video").play = () => Promise.reject(new Error("no picture came"));
      document.getElementById("camera").click();
    }""")
    wait_until(camera_page, "document.getElementById('hint').textContent")
    assert "no picture came" in camera_page.inner_text("#hint")
    assert set(states(camera_page)) == {"ended"}
    camera_page.evaluate("delete document.getElementById('video').play")


def test_camera_that_sends_no_picture_is_reported(camera_page: Any) -> None:
    camera_page.click("#camera")
    wait_until(camera_page, SHOWS_FACES)
    camera_page.evaluate("self.tracks.at(-1).dispatchEvent(new Event('mute'))")
    assert "sends no picture" in camera_page.inner_text("#hint")
    camera_page.evaluate("self.tracks.at(-1).dispatchEvent(new Event('unmute'))")
    assert camera_page.inner_text("#hint") == ""
    camera_page.click("#stop")


def test_camera_that_the_embedding_page_forbids_is_reported(
    camera_page: Any, address: str, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text(f'<!doctype html><iframe src="{address}"></iframe>')
    opened = camera_page.context.new_page()
    with serve(tmp_path) as found:  # another origin
        opened.goto(found)
        frame = opened.frame_locator("iframe")
        frame.locator("#list .example").wait_for()
        frame.locator("#camera").click()
        frame.locator("#hint", has_text="the page that embeds this one").wait_for()
    opened.close()


def test_unplugged_camera_is_reported(camera_page: Any) -> None:
    camera_page.click("#camera")
    camera_page.wait_for_selector("#live:not([hidden])")
    camera_page.evaluate("self.tracks.at(-1).dispatchEvent(new Event('ended'))")
    assert "unplugged" in camera_page.inner_text("#hint")
    assert camera_page.locator("#live").is_hidden()
    assert camera_page.locator("#camera").is_visible()


# ---- Firefox


def test_interface_in_firefox(address: str) -> None:
    program = find_firefox()
    if program is None:
        pytest.skip("Firefox is not installed (on Debian: apt-get install firefox-esr)")
    with Firefox(program) as firefox:
        firefox.open(address)
        assert firefox.evaluate(WAIT)[0] == "good"
        shown = firefox.evaluate(
            """async (files) => {
              const settle = () => new Promise((resolve) => setTimeout(resolve, 50));
              const find = (selector) => document.querySelectorAll(selector);
              while (!find("#list .example").length) await settle();
              find("#samples li:last-child button")[0].click();
              while (!find("#list .photograph").length) await settle();
              const faces = [...find(".faces strong")].map((one) => one.textContent);
              const transfer = new DataTransfer();
              for (const [name, data] of Object.entries(files)) {
                const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
              }
              window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
              while (find("#list .unreadable").length < 5) await settle();
              return [faces, [...find("#list .unreadable")].map((one) => one.textContent)];
            }""",
            {
                name: base64.b64encode(UNREADABLE[name][0]).decode()
                for name in ("half.jpg", "half.png", "damaged.png", "half.gif", "phone.heic")
            },
        )
        faces, errors = shown
        labels = [one.label for one in FaceClassifier().predict(SCENE)]
        assert faces == [label for label in labels if label != "other"]
        for text in errors:
            name, sentence = text.split(": ", 1)
            assert sentence.startswith(UNREADABLE[name][1])
