"""A headless Chromium for tests, spoken to in the DevTools protocol over a pipe.

https://chromedevtools.github.io/devtools-protocol/ names the methods. No name resolves in it."""

import base64
import itertools
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TIMEOUT_S = 30.0
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--no-first-run", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe",
)  # fmt: skip
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r")}
# Chromium reads commands from descriptor 3 and answers on 4.
_START = (
    "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); os.dup2(fd, 4); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


class ChromiumError(Exception):
    """Chromium says no, or nothing; the text is what it says."""


class Chromium:
    """A browser with one page; a context manager. command: as debian.program() gives it."""

    def __init__(self, command: list[str]) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._folder = Path(self._scratch.name)
        self._pipe, far = socket.socketpair()
        self._pipe.settimeout(_TIMEOUT_S)
        self._ids = itertools.count(1)
        self._read = b""
        self._log = open(self._folder / "log", "wb")  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(far.fileno()), *command, *_FLAGS,
             f"--user-data-dir={self._folder / 'profile'}"],
            pass_fds=[far.fileno()], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        far.close()
        self._session: str | None = None
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
        except BaseException:
            self.close()
            raise

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol. Raises ChromiumError."""
        number = next(self._ids)
        said = {"id": number, "method": method, "params": params}
        if self._session:
            said["sessionId"] = self._session
        try:
            self._pipe.sendall(json.dumps(said).encode() + b"\0")
        except OSError as e:
            raise ChromiumError(self._last_words()) from e
        answer = self._answer(number)
        if "error" in answer:
            raise ChromiumError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def load(self, html: str, width: int = 1024, height: int = 768) -> None:
        """Shows a page, from a file: a secure context. width, height: CSS pixels; a width below
        600 is a phone's."""
        page = self._folder / "page.html"
        page.write_text(html)
        self.open(page.as_uri(), width, height)

    def open(self, url: str, width: int = 1024, height: int = 768) -> None:
        """Shows what is at a URL, when it is there; 127.0.0.1 is the one host there is."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2, mobile=width < 600)  # fmt: skip
        self.call("Page.navigate", url=url)  # answered when the new page has begun
        self.evaluate("document.readyState == 'complete' || new Promise(r => onload = () => r())")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page that is shown, awaited if need be."""
        said = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                         returnByValue=True)  # fmt: skip
        if "exceptionDetails" in said:
            wrong = said["exceptionDetails"]
            raise ChromiumError(wrong.get("exception", {}).get("description") or wrong["text"])
        return said["result"].get("value")

    def page(self, html: str) -> str:
        """The page's DOM, its scripts run."""
        self.load(html)
        return self.evaluate("document.documentElement.outerHTML")

    def screenshot(self, html: str, png: Path, width: int = 1024) -> None:
        """The whole page, as high as it is, at two device pixels a CSS pixel."""
        self.load(html, width)
        height = self.evaluate("document.documentElement.scrollHeight")
        self.load(html, width, height)
        said = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        png.write_bytes(base64.b64decode(said["data"]))

    def pdf(self, html: str) -> bytes:
        """The page as it is printed, on the paper that its style names."""
        self.load(html)
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other: "Tab", "Enter"."""
        for key in keys:
            code, text = _KEYS[key]
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                          windowsVirtualKeyCode=code)  # fmt: skip

    def close(self) -> None:
        self._pipe.close()  # ends it
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._scratch.cleanup()

    def _answer(self, number: int) -> dict[str, Any]:
        """What comes before it, events, is of no interest."""
        while True:
            while b"\0" not in self._read:
                try:
                    data = self._pipe.recv(1 << 20)
                except OSError:
                    data = b""
                if not data:
                    raise ChromiumError(f"no answer: {self._last_words()}")
                self._read += data
            message, _, self._read = self._read.partition(b"\0")
            said = json.loads(message)
            if said.get("id") == number:
                return said

    def _last_words(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-300:]

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
