"""A browser for tests: Chromium without a window, driven over a pipe by its DevTools protocol.

`Browser.path()` is None where there is no Chromium; then what needs one is skipped.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from support import PATIENCE_S


class Browser:
    """One tab.  `errors` has what the page wrote to its console as an error, and what the policy has refused; `asked` the
    addresses of all requests; `downloads` is the folder in which files arrive that the page saves."""

    @staticmethod
    def path() -> str | None:
        """Where Chromium is."""
        return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

    def __init__(self) -> None:
        path = self.path()
        assert path is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, their_write = os.pipe()
        their_read, write = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec 3<&{their_read} 4>&{their_write}; exec "$@"'
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ]
        options += ["--remote-debugging-pipe", f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", path, *options],
            pass_fds=(their_read, their_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_read)
        os.close(their_write)
        self._read, self._write = read, write
        self._left = b""
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.downloads = Path(self._folder.name, "downloads")
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """Ends it."""
        os.close(self._write)
        os.close(self._read)
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        answer = self._answer(method, params)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            answer = self._next(end)
            if answer.get("id") == self._number:
                return answer
        raise AssertionError(f"no answer to {method}")

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser says nothing"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        text, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        return message

    def wrong(self) -> list[str]:
        """`errors`, but for what the end of a program does to the connection of its page."""
        return [each for each in self.errors if "ERR_" not in each]

    def go(self, url: str) -> None:
        """Opens a page.  One of another site gets a process of its own; what is asked while the tab changes to it may be
        answered by an error."""
        assert "errorText" not in self.ask("Page.navigate", url=url)
        loaded = {"expression": f"document.readyState == 'complete' && location.href == {json.dumps(url)}"}
        end = time.monotonic() + PATIENCE_S
        while not (answer := self._answer("Runtime.evaluate", loaded)).get("result", {}).get("result", {}).get("value"):
            assert time.monotonic() < end, answer
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str) -> Any:
        """Waits until a JavaScript expression is true, and returns its value."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.run(expression)):
            assert time.monotonic() < end, f"{expression}: not true"
            time.sleep(0.05)
        return value

    def key(self, name: str, number: int, text: str = "") -> None:
        """Presses a key and lets go of it."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=number, **typed)

    def click(self, x: float, y: float) -> None:
        """Presses the left button there and lets go of it."""
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def saved(self, name: str) -> bytes:
        """Waits until the page has saved a file of this name, and returns what is in it."""
        end = time.monotonic() + PATIENCE_S
        path = self.downloads / name
        while not path.exists() or not (content := path.read_bytes()):
            assert time.monotonic() < end, f"{name}: not saved"
            self.run("0")  # what the browser has to say is read meanwhile
            time.sleep(0.05)
        path.unlink()
        return content

    def view(self, width: int, height: int, dark: bool) -> None:
        """The size of the window, and what the user prefers.  A busy browser takes a while to apply them."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])
        scheme = f"matchMedia('(prefers-color-scheme: {feature['value']})').matches"
        self.until(f"innerWidth == {width} && innerHeight == {height} && {scheme}")

    def screenshot(self, path: Path) -> None:
        """Writes what the page looks like, all of it, as a PNG."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
