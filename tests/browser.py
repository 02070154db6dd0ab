"""A headless Chromium, driven through a pipe as its developer tools drive it."""

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from select import select
from time import monotonic
from typing import Any

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60  # seconds


class Browser:
    """One browser with one page; ``errors`` and ``requests`` are of what was opened last."""

    def __init__(self, folder: Path) -> None:
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        command = [PATH, *QUIET, f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        ends = f'exec "$@" 3<&{to_child} 4>&{from_child}'
        self._process = subprocess.Popen(
            ["bash", "-c", ends, "bash", *command, "about:blank"],
            pass_fds=(to_child, from_child),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self._left, self._last, self._session = b"", 0, None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._seen: set[str] = set()
        (target,) = self._pages()
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def _pages(self) -> list[str]:
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline:
            targets = self.send("Target.getTargets")["targetInfos"]
            if found := [one["targetId"] for one in targets if one["type"] == "page"]:
                return found[:1]
        raise TimeoutError("the browser opened no page")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._last:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]

    def _next(self) -> dict[str, Any]:
        """Read one message; note what it says of errors and requests."""
        while b"\0" not in self._left:
            if not select([self._read], [], [], PATIENCE)[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser is gone")
            self._left += part
        line, _, self._left = self._left.partition(b"\0")
        found = json.loads(line)
        self._note(found.get("method"), found.get("params", {}))
        return found

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"].get("exception", told)))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.errors.append(str(told["args"]))
        elif method == "Log.entryAdded":
            self.errors.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method:
            self._seen.add(method)

    def open(self, file: Path, width: int = 1440, height: int = 900) -> None:
        """Open a file in a window of this size, and wait until it is there."""
        self.resize(width, height)
        self.errors, self.requests, self._seen = [], [], set()
        self.send("Page.navigate", url=file.as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._next()

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        asked = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        found = self.send("Runtime.evaluate", expression=script, **asked)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]["exception"].get("description")))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, such as ``Tab`` or ``ArrowRight``."""
        codes = {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}
        told = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **told)

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with suppress(RuntimeError, BrokenPipeError):
            self.send("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._write)
        os.close(self._read)
