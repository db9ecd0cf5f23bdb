"""A headless Chromium that is told what to do through a pipe, by the protocol of its developer tools."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--hide-scrollbars")


class Browser:
    """One page. What it writes to its console as an error, and what it raises, is in `errors`; what it asked the network for in `asked`."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 1000)) -> None:
        assert CHROMIUM
        to_browser, from_here = os.pipe()
        from_browser, to_here = os.pipe()

        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, to_here)]  # out of the way of 3 and 4, where it listens

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        command = [CHROMIUM, *_FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [*command, "about:blank"], preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (to_browser, to_here, *ends):
            os.close(end)
        self._out, self._in = os.fdopen(from_here, "wb", buffering=0), os.fdopen(from_browser, "rb")
        self._number, self._session = 0, ""
        self.errors: list[str] = []
        self.asked: list[str] = []
        target = next(each for each in self._send("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._in.close()

    def open(self, page: Path) -> None:
        self._send("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"].get("exception", {}).get("description", found))
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true; half a minute at most."""
        look = f"const look = () => (({expression}) || ++n > 600 ? done(n <= 600) : setTimeout(look, 50))"
        assert self.ask(f"new Promise((done) => {{ let n = 0; {look}; look(); }})"), expression

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, path: Path, whole: bool = False) -> None:
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]))

    def printed(self, path: Path) -> int:
        """Print to PDF; returns the number of its bytes."""
        return path.write_bytes(base64.b64decode(self._send("Page.printToPDF", printBackground=True)["data"]))

    def _send(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            found = json.loads(self._message())
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]
            self._note(found)

    def _message(self) -> bytes:
        content = bytearray()
        while (letter := self._in.read(1)) not in (b"\0", b""):
            content += letter
        assert letter, "the browser ended"
        return bytes(content)

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.errors.append(str(told["args"]))
        elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("data:", "about:")):
            self.asked.append(told["request"]["url"])
