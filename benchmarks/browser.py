"""Time the web page: ``python benchmarks/browser.py`` (needs Chromium and npm).

Measures the time from opening the page to its passed self-test and to the first result, the time
of one face beside the Python runtime with one thread, and the bytes that a visitor loads.
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
from results import ResultOptions, benchmark_command, draw_bars, report_result

SAMPLE = Path(__file__).parent.parent / "samples" / "happy_01.png"
MODELS = ("edge-int8", "edge")
CALLS = 300

# Returns the microseconds of one call of the network, run as in worker.js.
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


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server that logs no requests."""

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
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#status.good")
    verified = time.perf_counter() - started
    page.set_input_files("#file", SAMPLE)
    page.wait_for_selector("#list canvas")
    first = time.perf_counter() - started
    face = float(page.evaluate(TIME_CALLS, CALLS))
    page.context.close()
    return verified, first, face


@benchmark_command(__doc__, rounds=5)
def main(options: ResultOptions, rounds: int) -> None:
    """Print a table."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        sys.exit("browser.py is left out: it needs Chromium and pip install playwright")
    lines = [
        "| model | self-test passed after | first result | one face | in Python | × | page "
        "| without wasm |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for model in MODELS:
            try:
                folder = write_page(model, Path(temporary) / model)
            except PageError as error:
                sys.exit(f"browser.py is left out: {error}")
            handler = functools.partial(QuietHandler, directory=str(folder))
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            visits = [
                (*visit(browser, f"http://127.0.0.1:{server.server_port}/"), time_python(model))
                for _ in range(rounds)
            ]
            server.shutdown()
            verified, first, face, python = (
                quartiles(list(values))[1] for values in zip(*visits, strict=True)
            )
            ratio = quartiles([one[2] / one[3] for one in visits])[1]
            sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
            total = sum(sizes.values()) / 1e6
            light = total - sum(n for path, n in sizes.items() if path.suffix == ".wasm") / 1e6
            lines.append(
                f"| {model} | {verified:.2f} s | {first:.2f} s | {face:,.0f} µs | "
                f"{python:,.0f} µs | {ratio:.1f} | {total:.1f} MB | {light:.2f} MB |"
            )
            figures[f"{model}, seconds to the first result"] = first
            figures[f"{model}, µs a face"] = face
            figures[f"{model}, MB"] = total
        browser.close()
    faces = {name: value for name, value in figures.items() if name.endswith("µs a face")}
    report_result(
        options,
        "browser",
        "\n".join(lines),
        lower=figures,
        draw=lambda figure: draw_bars(figure, faces, "µs a face in the browser"),
    )


if __name__ == "__main__":
    main()
