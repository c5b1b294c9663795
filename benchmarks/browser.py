"""Measure the web page: ``python benchmarks/browser.py`` (needs Chromium and npm).

Measures the bytes that a visitor loads, the time from opening the page to its first result, the
frame rate of the live camera at 640×480, the longest task with 500 pictures, violations of the
accessibility rules of axe-core, and the time of one face beside the Python runtime with one thread.
"""

from __future__ import annotations

import base64
import functools
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import emotion_export.page.build as page_build
from emotion_export.errors import PageError
from emotion_runtime import EmotionClassifier
from harness import quartiles
from results import ResultOptions, benchmark_command, draw_bars, report_result

SAMPLE = Path(__file__).parent.parent / "samples" / "happy_01.png"
SCENE = Path(page_build.__file__).parent / "pictures" / "scene.webp"
MODELS = ("edge-int8", "edge")
CALLS = 300
PICTURES = 500
LIVE_SECONDS = 8
AXE = "axe-core@4.10.3"
APPEARANCES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    "phone, dark": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}

# Notes when an element first appears, in milliseconds after the start of the navigation. The page's
# own clock, since the messages of the browser to this script take longer on a busy machine.
NOTE_TIMES = """() => {
  const wanted = ["#status.good", "#list canvas"];
  window.appeared = {};
  const observer = new MutationObserver(() => {
    for (const selector of wanted) {
      if (!(selector in window.appeared) && document.querySelector(selector)) {
        window.appeared[selector] = performance.now();
      }
    }
  });
  observer.observe(document, { attributes: true, childList: true, subtree: true });
}"""

# Returns the microseconds of one call of the network, run as in worker.js.
TIME_CALLS = """async (calls) => {
  const load = (name) => import(new URL(name, location.href));
  const [{ loadRuntime }, { fetchFile }] = [await load("runtime.js"), await load("files.js")];
  const ort = await loadRuntime(new URL("ort/", location.href).href, () => {});
  const url = new URL(document.body.dataset.model, location.href).href;
  const file = await fetchFile(url, "model file", 1e9);
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  const face = () => new ort.Tensor("uint8", new Uint8Array(48 * 48).fill(90), [1, 1, 48, 48]);
  for (let i = 0; i < calls; i++) await session.run({ pixels: face() });
  const started = performance.now();
  for (let i = 0; i < calls; i++) await session.run({ pixels: face() });
  return (1000 * (performance.now() - started)) / calls;
}"""

# Drops many pictures, and returns the longest task of the page while they are classified.
DROP_MANY = """async ([count, data]) => {
  const tasks = [0];
  const observer = new PerformanceObserver((list) =>
    tasks.push(...list.getEntries().map((entry) => entry.duration)),
  );
  observer.observe({ type: "longtask" });
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  for (let i = 0; i < count; i++) transfer.items.add(new File([bytes], `${i}.png`));
  await new Promise((resolve) => setTimeout(resolve, 500));
  tasks.length = 1; // without making the files
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
  const rows = document.getElementById("list").children;
  while (rows.length < count) await new Promise((resolve) => setTimeout(resolve, 50));
  await new Promise((resolve) => setTimeout(resolve, 500));
  return Math.max(...tasks);
}"""


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server that logs no requests and compresses nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def time_python(model: str) -> float:
    """Return the microseconds of one face in the Python runtime, one thread."""
    classifier = EmotionClassifier(model)
    face = np.full((1, 48, 48), 90, dtype=np.uint8)
    for _ in range(CALLS):
        classifier.infer(face)
    started = time.perf_counter()
    for _ in range(CALLS):
        classifier.infer(face)
    return 1e6 * (time.perf_counter() - started) / CALLS


def visit(browser: Any, address: str) -> tuple[float, float, float]:
    """Open the page in a new context and measure it.

    Returns:
        Seconds to the passed self-test, seconds to the first result, microseconds of one face.
    """
    page = browser.new_context().new_page()
    page.add_init_script(f"({NOTE_TIMES})()")
    page.goto(address)
    page.wait_for_selector("#list canvas")
    appeared = page.evaluate("window.appeared")
    verified, first = (appeared[one] / 1000 for one in ("#status.good", "#list canvas"))
    face = float(page.evaluate(TIME_CALLS, CALLS))
    page.context.close()
    return verified, first, face


def count_bytes(browser: Any, address: str) -> tuple[float, float]:
    """Return the megabytes up to the first result, and up to the first photograph."""
    context = browser.new_context(service_workers="block")  # it reads them again from the cache
    page = context.new_page()
    sizes: dict[str, int] = {}  # what is loaded twice comes from the browser's cache
    context.on(
        "response",
        lambda one: sizes.update({one.url: len(one.body())}) if "http" in one.url else None,
    )
    page.goto(address)
    page.wait_for_selector("#list canvas")
    first = sum(sizes.values()) / 1e6
    page.click("#samples li:last-child button")
    page.wait_for_selector("#list .photograph")
    with_detector = sum(sizes.values()) / 1e6
    context.close()
    return first, with_detector


def measure_camera(play: Any, program: str, address: str) -> float:
    """Return the frames a second of the live camera, which shows a scene with seven faces."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "scene.mjpeg"
        scene = Image.open(SCENE).resize((640, 360))
        with video.open("wb") as stream:
            for shift in (*range(0, 20), *range(20, 0, -1)):
                frame = Image.new("RGB", (640, 480), "gray")
                frame.paste(scene, (0, 50 + shift))
                frame.save(stream, "JPEG", quality=92)
        flags = ["--no-sandbox", "--use-fake-ui-for-media-stream"]
        flags += ["--use-fake-device-for-media-stream=fps=60"]
        flags += [f"--use-file-for-fake-video-capture={video}"]
        context = play.chromium.launch_persistent_context(
            f"{folder}/profile", executable_path=program, args=flags
        )
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#list canvas")
        page.click("#camera")
        page.wait_for_selector("#overlay[data-frames]")
        page.wait_for_timeout(1000 * LIVE_SECONDS)
        frames = float(page.get_attribute("#overlay", "data-frames"))
        context.close()
    return frames


def measure_longest_task(browser: Any, address: str) -> float:
    """Return the milliseconds of the longest task while 500 pictures are classified."""
    page = browser.new_context().new_page()
    page.goto(address)
    page.wait_for_selector("#list canvas")
    page.wait_for_timeout(1000)
    data = base64.b64encode(SAMPLE.read_bytes()).decode()
    longest = float(page.evaluate(DROP_MANY, [PICTURES, data]))
    page.context.close()
    return longest


def count_violations(browser: Any, address: str) -> dict[str, int]:
    """Return the number of violated rules of axe-core in each appearance."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", AXE]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            axe = io.TextIOWrapper(member, encoding="utf-8").read()
    found = {}
    for name, options in APPEARANCES.items():
        page = browser.new_context(bypass_csp=True, **options).new_page()
        page.goto(address)
        page.wait_for_selector("#list canvas")
        page.click("summary")
        page.click("#samples li:last-child button")
        page.wait_for_selector("#list .photograph")
        page.click("#samples li:nth-child(2) button")
        page.wait_for_selector("#list .face")
        page.evaluate(axe)
        violations = page.evaluate("axe.run().then((done) => done.violations)")
        for violation in violations:
            print(f"{name}: {violation['id']}: {violation['nodes'][0]['html'][:120]}")
        found[name] = len(violations)
        page.context.close()
    return found


@benchmark_command(__doc__, rounds=5)
def main(options: ResultOptions, rounds: int) -> None:
    """Print two tables."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None or shutil.which("npm") is None:
        sys.exit("browser.py is left out: it needs Chromium, npm and pip install playwright")
    lines = [
        "| model | self-test passed after | first result | one face | in Python | × | first result "
        "loads | with the detector |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lower: dict[str, float] = {}
    higher: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for model in MODELS:
            try:
                folder = page_build.write_page(model, Path(temporary) / model)
            except PageError as error:
                sys.exit(f"browser.py is left out: {error}")
            handler = functools.partial(QuietHandler, directory=str(folder))
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}/"
            visits = [(*visit(browser, address), time_python(model)) for _ in range(rounds)]
            verified, first, face, python = (
                quartiles(list(values))[1] for values in zip(*visits, strict=True)
            )
            ratio = quartiles([one[2] / one[3] for one in visits])[1]
            loaded, with_detector = count_bytes(browser, address)
            lines.append(
                f"| {model} | {verified:.2f} s | {first:.2f} s | {face:,.0f} µs | "
                f"{python:,.0f} µs | {ratio:.1f} | {loaded:.2f} MB | {with_detector:.2f} MB |"
            )
            lower[f"{model}, seconds to the first result"] = first
            lower[f"{model}, µs a face"] = face
            lower[f"{model}, MB to the first result"] = loaded
            lower[f"{model}, MB with the detector"] = with_detector
            if model == MODELS[0]:
                frames = measure_camera(play, program, address)
                longest = measure_longest_task(browser, address)
                violations = count_violations(browser, address)
            server.shutdown()
        browser.close()
    # The browser reports tasks of 50 ms and more.
    slowest = f"{longest:.0f} ms" if longest else "under 50 ms"
    lines += [
        "",
        f"| live camera, 640×480, 7 faces | longest task with {PICTURES} pictures | "
        + " | ".join(f"axe violations, {name}" for name in violations)
        + " |",
        "| ---: | ---: |" + " ---: |" * len(violations),
        f"| {frames:.0f} frames a second | {slowest} | "
        + " | ".join(str(count) for count in violations.values())
        + " |",
    ]
    higher["frames a second of the live camera"] = frames
    lower["ms of the longest task"] = longest
    lower |= {f"axe violations, {name}": float(count) for name, count in violations.items()}
    faces = {name: value for name, value in lower.items() if name.endswith("µs a face")}
    report_result(
        options,
        "browser",
        "\n".join(lines),
        lower=lower,
        higher=higher,
        draw=lambda figure: draw_bars(figure, faces, "µs a face in the browser"),
    )


if __name__ == "__main__":
    main()
