"""A headless Chromium, spoken to through a pipe in its DevTools protocol: no driver and no port are
needed.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--hide-scrollbars",
)


def program() -> str | None:
    """Where it is installed, None where it is not."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason=f"no browser: install one of {PROGRAMS}"),
]


class Browser:
    """One page. errors: what its console and its exceptions said. requests: every address that was
    asked for, by its workers too.
    """

    def __init__(self, write: int, read: int):
        self._write, self._read = write, read
        self._buffer, self._number, self._session = b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True
        )

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; what is reported meanwhile is kept."""
        number = self._send(method, params, self._session)
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _send(self, method: str, params: dict[str, Any], session: str) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def open(self, page: Path | str) -> None:
        """Load a file or an address; returns once it is drawn."""
        size = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=page.as_uri() if isinstance(page, Path) else page)
        self.value(
            "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )
        self.settle()

    def value(self, expression: str) -> Any:
        """What JavaScript gives, promises awaited."""
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **params)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def settle(self) -> None:
        """Wait until what has been asked for is drawn: two frames, and images that are decoded."""
        self.value("Promise.all([...document.images].map(i => i.decode().catch(() => 0)))")
        self.value(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))"
        )

    def press(self, key: str) -> None:
        """A key as a person presses it."""
        text = {"text": key} if key == " " else {}
        codes = {" ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            pressed = {"type": kind, "key": key, "windowsVirtualKeyCode": codes[key], **extra}
            self.call("Input.dispatchKeyEvent", **pressed)
        self.settle()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 2**20)
            assert part, "the browser has gone"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        params = message.get("params", {})
        match message.get("method"):
            case "Target.attachedToTarget":
                # A worker, which waits until it is watched.
                for method in ("Runtime.enable", "Network.enable", "Target.setAutoAttach"):
                    watched = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
                    values = watched if method == "Target.setAutoAttach" else {}
                    self._send(method, values, params["sessionId"])
                self._send("Runtime.runIfWaitingForDebugger", {}, params["sessionId"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.errors.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.errors.append(json.dumps(params["args"]))
        return message


@contextmanager
def browser(*flags: str) -> Iterator[Browser]:
    """A browser with an empty profile, which is gone afterwards. flags: more of its options."""
    found = program()
    assert found, "ask program() first"
    read_theirs, write_ours = os.pipe()
    read_ours, write_theirs = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        own = (f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank")
        command = [found, *FLAGS, *flags, *own]

        def inherit() -> None:  # it reads descriptor 3 and writes descriptor 4
            saved = os.dup(read_theirs), os.dup(write_theirs)
            os.dup2(saved[0], 3)
            os.dup2(saved[1], 4)

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, preexec_fn=inherit, close_fds=False, **quiet)
        os.close(read_theirs)
        os.close(write_theirs)
        try:
            yield Browser(write_ours, read_ours)
        finally:
            process.terminate()
            process.wait(10)
            os.close(write_ours)
            os.close(read_ours)
