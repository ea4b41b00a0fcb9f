"""A headless Chromium that tests drive by the DevTools protocol, over pipes: no port, no package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PATIENCE = 60.0  # seconds


def chromium() -> str | None:
    """Where the distribution's browser is; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page. `console` holds what was logged and every error; `requests` all URLs that were asked for."""

    def __init__(self, width: int = 1400, height: int = 900, *, dark: bool = False) -> None:
        self._profile = TemporaryDirectory(prefix="affectkit-browser-", ignore_cleanup_errors=True)
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        command = [
            chromium() or "", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
            "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={self._profile.name}",
            "--remote-debugging-pipe", "--force-device-scale-factor=1", "about:blank",
        ]  # fmt: skip

        def pipes() -> None:  # the browser reads descriptor 3 and writes 4
            os.dup2(to_read, 3 + 100)
            os.dup2(to_write, 4 + 100)
            os.dup2(103, 3)
            os.dup2(104, 4)

        self._process = subprocess.Popen(
            command, preexec_fn=pipes, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, ""
        self.console: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        targets = self._send("Target.getTargets", {})["targetInfos"]
        page = next(each for each in targets if each["type"] == "page")
        attached = self._send("Target.attachToTarget", {"targetId": page["targetId"], "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable", {})
        self.resize(width, height)
        self.emulate(dark=dark)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def resize(self, width: int, height: int) -> None:
        """Another size of window."""
        self._send("Emulation.setDeviceMetricsOverride",
                   {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip

    def emulate(self, *, dark: bool = False, media: str = "") -> None:
        """Dark or light; `media`: print."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._loaded = False
        self._send("Page.navigate", {"url": url})
        until = time.monotonic() + PATIENCE
        while not self._loaded:
            self._read(until)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        about = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self._send("Runtime.evaluate", about)
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def wait(self, script: str, patience: float = 15.0) -> Any:
        """The value of an expression once it is truthy."""
        until = time.monotonic() + patience
        while not (value := self.run(script)):
            assert time.monotonic() < until, f"never: {script}; console: {self.console}"
            time.sleep(0.05)
        return value

    def click(self, x: float, y: float) -> None:
        """A click of the mouse."""
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """An event of the mouse, by its left button."""
        self._send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1,
                                                "buttons": 1 if kind != "mouseReleased" else 0})  # fmt: skip

    def press(self, key: str, code: int = 0, text: str = "") -> None:
        """A key of the keyboard."""
        about = {"key": key, "windowsVirtualKeyCode": code, "code": key, **({"text": text} if text else {})}
        self._send("Input.dispatchKeyEvent", {"type": "keyDown", **about})
        self._send("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "windowsVirtualKeyCode": code, "code": key})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of what is on show, or of the whole page."""
        shot = self._send("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self._send("Page.printToPDF", {"printBackground": False})["data"])

    def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._read(until)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            assert left > 0, f"the browser does not answer; console: {self.console}"
            ready, _, _ = select.select([self._in], [], [], left)
            if ready:
                block = os.read(self._in, 1 << 20)
                assert block, "the browser has ended"
                self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self.console.append(json.dumps(about["exceptionDetails"])[:2000])
        elif event == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(each.get("value", each.get("description"))) for each in about["args"]))
        elif event == "Log.entryAdded":
            entry = about["entry"]
            self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
