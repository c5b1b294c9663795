"""Helpers of the tests of the web page: serve a folder, wait for what a page shows."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import re
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path, port: int = 0, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Serve a folder and yield its address; at any free port by default."""

    class Handler(QuietHandler):
        def end_headers(self) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

    handler = functools.partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


WAIT = """async () => {
  const status = document.getElementById("status");
  for (let i = 0; i < 3000 && !status.className; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return [status.className, status.textContent, document.getElementById("file").disabled];
}"""


def read_refusal(page: Any, address: str) -> str:
    """Open a page that does not run, and return the reason that it shows."""
    page.goto(address)
    page.wait_for_selector("#status.bad")
    text: str = page.inner_text("#status")
    return text


def wait_until(page: Any, condition: str) -> None:
    """Wait until an expression of JavaScript is true; AssertionError after a minute.

    Playwright's own wait_for_function needs a page without a Content-Security-Policy.
    """
    is_true = page.evaluate(
        "async () => { for (let i = 0; i < 3000; i++) { if (" + condition + ") return true; "
        "await new Promise((resolve) => setTimeout(resolve, 20)); } return false; }"
    )
    assert is_true, condition


def wait_for_rows(page: Any, count: int) -> None:
    """Wait until the list has `count` pictures, without the example of the start."""
    wait_until(page, f"document.querySelectorAll('#list > li:not(.example)').length === {count}")


def serve_changed(page: Any, file: str, change: Callable[[str], str]) -> None:
    """Serve the browser a changed file of the page."""
    from playwright.sync_api import Error

    def fulfil(route: Any) -> None:
        try:
            response = route.fetch()
            route.fulfill(response=response, body=change(response.text()))
        except Error as error:
            # The test closed the page meanwhile; raised here, it would fail the next test.
            if not re.search("closed|disposed", str(error)):
                raise

    page.context.route(f"**/{file}", fulfil)


def open_with_change(browser: Any, address: str, file: str, change: Callable[[str], str]) -> Any:
    """Open the page with one changed file, in a new context.

    It has no service worker, which would load the changed file again at any time.
    """
    opened = browser.new_context(service_workers="block").new_page()
    serve_changed(opened, file, change)
    opened.goto(address)
    return opened


def saved_rows(page: Any) -> list[dict[str, str]]:
    """Click on Save and return the rows of the file."""
    with page.expect_download() as download:
        page.click("#save")
    data = Path(download.value.path()).read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")  # otherwise Excel shows "Ã¼" for "ü"
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
