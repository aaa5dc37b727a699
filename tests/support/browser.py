"""A real browser without network access, controlled by the DevTools protocol over a pair of pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support.sockets import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_ON_3_AND_4 = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(each), fcntl.F_DUPFD_CLOEXEC, 10) for each in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""--remote-debugging-pipe: commands on descriptor 3, answers and events on 4, each ended by a null byte."""


class Browser:
    """A headless browser with one page."""

    def __init__(self, home: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = (
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={home}",
            "--remote-debugging-pipe",
        )
        self.process = subprocess.Popen(
            (sys.executable, "-c", _ON_3_AND_4, str(theirs_in), str(theirs_out), *command),
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []

    def open(self) -> Self:
        """Open the page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    @property
    def requests(self) -> list[str]:
        """The URLs requested so far."""
        sent = (event for event in self._events if event["method"] == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    @property
    def answered(self) -> list[str]:
        """The requested URLs that the page's content security policy did not block."""
        blocked = {
            event["params"]["requestId"]
            for event in self._events
            if event["method"] == "Network.loadingFailed" and event["params"].get("blockedReason") == "csp"
        }
        sent = (event["params"] for event in self._events if event["method"] == "Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent if each["requestId"] not in blocked]

    @property
    def complaints(self) -> list[str]:
        """The errors of the page: exceptions, and requests that its content security policy blocked."""
        exceptions = [
            event["params"]["exceptionDetails"]["exception"].get("description", "")
            for event in self._events
            if event["method"] == "Runtime.exceptionThrown"
        ]
        entries = [event["params"]["entry"] for event in self._events if event["method"] == "Log.entryAdded"]
        return exceptions + [entry["text"] for entry in entries if entry["level"] == "error"]

    def show(self, page: Path, *, width: int = 1100, height: int = 900, scheme: str = "light") -> Self:
        """Load a page from a file, in a window of this size and in a colour scheme."""
        self._events.clear()
        self.resize(width=width, height=height)
        self.be(scheme)
        self.go(page.as_uri())
        return self

    def go(self, url: str) -> None:
        """Load a URL."""
        self.call("Page.navigate", url=url)
        self._wait_for("Page.loadEventFired")

    def be(self, scheme: str) -> None:
        """Emulate the preferred colour scheme: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, *, width: int, height: int = 900) -> None:
        """Change the size of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text of the first element that matches; empty if none does."""
        found: str = self.value(f"(document.querySelector({json.dumps(selector)}) || {{}}).textContent || ''")
        return found

    def wait_until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never: {expression}; {self.text('body')}; {self.complaints}"
            time.sleep(0.05)

    def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def picture(self, to: Path) -> Path:
        """Write a screenshot of the whole page to a PNG file."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(shot["data"]))
        return to

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            request["sessionId"] = self._session
        os.write(self._out, json.dumps(request).encode() + b"\0")
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            if "method" in message:
                self._events.append(message)

    def close(self) -> None:
        os.close(self._out)  # the browser ends when the pipe is closed
        os.close(self._in)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)

    def _wait_for(self, event: str) -> None:
        while not any(each["method"] == event for each in self._events):
            message = self._receive()
            if "method" in message:
                self._events.append(message)

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + 3 * PATIENCE
        while b"\0" not in self._buffer:
            assert time.monotonic() < deadline, "no message from the browser"
            if select.select([self._in], [], [], 0.5)[0]:
                piece = os.read(self._in, 1 << 16)
                assert piece, "the browser has ended"
                self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """Yield a browser whose files are in `home`; it is stopped afterwards."""
    running = Browser(home)
    try:
        yield running.open()
    finally:
        running.close()
