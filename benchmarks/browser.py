"""Time the web page: ``python benchmarks/browser.py`` (needs Chromium and npm).

From opening the page to its proof, to the first answer, and the time of one face, beside the
Python runtime with one thread; the bytes that a visitor loads.
"""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from emotion_export.errors import PageError
from emotion_export.page.build import write_page
from emotion_runtime import EmotionClassifier
from harness import quartiles
from results import draw_bars, finish, options

SAMPLE = Path(__file__).parent.parent / "samples" / "happy_01.png"
MODELS = ("edge-int8", "edge")
CALLS = 300

# The network alone, as worker.js runs it; microseconds of one call.
TIME_CALLS = """async (calls) => {
  const ort = await import(location.origin + "/ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = location.origin + "/ort/";
  const file = await (await fetch(document.body.dataset.model)).arrayBuffer();
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  const face = () => new ort.Tensor("uint8", new Uint8Array(48 * 48).fill(90), [1, 1, 48, 48]);
  for (let i = 0; i < calls; i++) await session.run({ pixels: face() });
  const started = performance.now();
  for (let i = 0; i < calls; i++) await session.run({ pixels: face() });
  return (1000 * (performance.now() - started)) / calls;
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves without a line for each request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def python_time(model: str) -> float:
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
    """Open the page anew: seconds to the proof and to the first answer, microseconds of a face."""
    page = browser.new_context().new_page()
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#status.good")
    proven = time.perf_counter() - started
    page.set_input_files("#file", SAMPLE)
    page.wait_for_selector("#list canvas")
    first = time.perf_counter() - started
    face = float(page.evaluate(TIME_CALLS, CALLS))
    page.context.close()
    return proven, first, face


def main() -> None:
    """Print a table."""
    chosen = options(__doc__, rounds=5).parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        sys.exit("browser.py is left out: it needs Chromium and pip install playwright")
    lines = [
        "| model | proven after | first answer | one face | in Python | × | page | without wasm |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as made, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for model in MODELS:
            try:
                folder = write_page(model, Path(made) / model)
            except PageError as error:
                sys.exit(f"browser.py is left out: {error}")
            handler = functools.partial(Quiet, directory=str(folder))
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            rounds = [
                (*visit(browser, f"http://127.0.0.1:{server.server_port}/"), python_time(model))
                for _ in range(chosen.rounds)
            ]
            server.shutdown()
            proven, first, face, python = (
                quartiles(list(values))[1] for values in zip(*rounds, strict=True)
            )
            ratio = quartiles([one[2] / one[3] for one in rounds])[1]
            sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
            total = sum(sizes.values()) / 1e6
            light = total - sum(n for path, n in sizes.items() if path.suffix == ".wasm") / 1e6
            lines.append(
                f"| {model} | {proven:.2f} s | {first:.2f} s | {face:,.0f} µs | {python:,.0f} µs | "
                f"{ratio:.1f} | {total:.1f} MB | {light:.2f} MB |"
            )
            figures[f"{model}, seconds to the first answer"] = first
            figures[f"{model}, µs a face"] = face
            figures[f"{model}, MB"] = total
        browser.close()
    faces = {name: value for name, value in figures.items() if name.endswith("µs a face")}
    finish(
        chosen,
        "browser",
        "\n".join(lines),
        lower=figures,
        draw=lambda figure: draw_bars(figure, faces, "µs a face in the browser"),
    )


if __name__ == "__main__":
    main()
