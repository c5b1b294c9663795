"""A driver for the Firefox of Debian, by Firefox's own protocol Marionette.

Playwright needs its own build of Firefox, and Debian has no geckodriver. Marionette is the
protocol of geckodriver: messages of the form ``LENGTH:JSON`` over a local socket.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("firefox-esr", "firefox")
_DEADLINE = 60.0  # seconds for Firefox to start, and for one message or script
_FLAGS = ("--headless", "--no-remote", "--marionette", "--remote-allow-system-access")
_PREFERENCES: dict[str, bool | int | str] = {
    "marionette.port": 0,  # any free port; Firefox writes its number to a file in the profile
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.prefs.recommended": True,
}


def find_firefox() -> str | None:
    """Return the path of Firefox; None if it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Firefox:
    """A headless Firefox with its own profile; the end of the ``with`` block ends it.

    Args:
        program: Path of Firefox.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._socket: socket.socket | None = None
        self._number = 0
        self._received = b""

    def __enter__(self) -> Firefox:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        profile = Path(self._folder.name)
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in _PREFERENCES.items()
        )
        (profile / "user.js").write_text("".join(lines))
        self._process = subprocess.Popen(
            [self._program, *_FLAGS, "--profile", str(profile)],
            env=os.environ | {"HOME": self._folder.name, "MOZ_CRASHREPORTER_DISABLE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._socket = self._connect(profile / "MarionetteActivePort")
            self._receive()  # the greeting
            self.send("WebDriver:NewSession")
            self.send("WebDriver:SetTimeouts", {"script": int(1000 * _DEADLINE)})
        except BaseException:
            self._terminate()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._terminate()

    def _terminate(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _connect(self, port_file: Path) -> socket.socket:
        deadline = time.monotonic() + _DEADLINE
        while True:
            try:
                port = int(port_file.read_text())
                return socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE)
            except (OSError, ValueError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("Firefox did not start") from error
                time.sleep(0.05)

    def _receive(self) -> Any:
        while b":" not in self._received:
            self._received += self._receive_bytes()
        length, _, rest = self._received.partition(b":")
        while len(rest) < int(length):
            rest += self._receive_bytes()
        message, self._received = rest[: int(length)], rest[int(length) :]
        return json.loads(message)

    def _receive_bytes(self) -> bytes:
        assert self._socket is not None
        chunk = self._socket.recv(1 << 16)
        if not chunk:
            raise RuntimeError("Firefox closed the connection")
        return chunk

    def send(self, command: str, parameters: dict[str, Any] | None = None) -> Any:
        """Send a Marionette command and return its result; raises RuntimeError on an error."""
        self._number += 1
        data = json.dumps([0, self._number, command, parameters or {}]).encode()
        assert self._socket is not None
        self._socket.sendall(b"%d:%s" % (len(data), data))
        _, _, error, result = self._receive()
        if error:
            raise RuntimeError(f"{error['error']}: {error['message']}")
        return result

    def open(self, address: str) -> None:
        """Load a page."""
        self.send("WebDriver:Navigate", {"url": address})

    def evaluate(self, function: str, *arguments: Any) -> Any:
        """Call a JavaScript function in the page and return what its promise resolves to."""
        script = "const done = arguments[arguments.length - 1]; const given = [...arguments];\n"
        script += f"given.pop(); Promise.resolve(({function})(...given)).then("
        script += "(value) => done({ value }), (error) => done({ error: String(error) }));"
        result = self.send(
            "WebDriver:ExecuteAsyncScript", {"script": script, "args": list(arguments)}
        )["value"]
        if "error" in result:
            raise RuntimeError(result["error"])
        return result.get("value")

    def set_preference(self, name: str, value: bool) -> None:
        """Set a preference of ``about:config``, such as ``privacy.resistFingerprinting``."""
        self._run_privileged("Services.prefs.setBoolPref(arguments[0], arguments[1]);", name, value)

    def allow_canvas_data(self, address: str) -> None:
        """Allow a site to read canvas data, as a user can in Firefox's prompt."""
        script = """
            const principal = Services.scriptSecurityManager.createContentPrincipalFromOrigin(
                arguments[0]);
            Services.perms.addFromPrincipal(principal, "canvas", Services.perms.ALLOW_ACTION);
        """
        self._run_privileged(script, address.rstrip("/"))

    def _run_privileged(self, script: str, *arguments: Any) -> None:
        """Run a script with the rights of the browser, not of a page."""
        self.send("Marionette:SetContext", {"value": "chrome"})
        try:
            self.send("WebDriver:ExecuteScript", {"script": script, "args": list(arguments)})
        finally:
            self.send("Marionette:SetContext", {"value": "content"})
