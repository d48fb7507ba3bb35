"""A page in headless Chromium over its debugging pipe: one browser for many pages, in either colour scheme.

It writes down every address that a page asks for, and what the console says.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.reporting import browser

PATIENCE_S = 300.0


class Chromium:
    """The browser: commands go in as JSON over one pipe, answers and events come out of another, each ended by a 0."""

    def __init__(self, profile: Path) -> None:
        assert browser.CHROMIUM, browser.ABSENT
        self.profile = profile
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        command = [browser.CHROMIUM, "--headless", "--no-sandbox", *browser.IN_SOFTWARE]
        command += [
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--window-size=1280,900",
            "--no-first-run",
            "about:blank",
        ]
        # the browser takes its pipes at 3 and 4, where this process may have other files
        placed = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "chromium", *command]
        self._process = subprocess.Popen(placed, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of one command; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._out, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def await_event(self, method: str, session: str) -> None:
        """Wait until an event of this name has come."""
        while not any(event["method"] == method and event.get("sessionId") == session for event in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            block = os.read(self._in, 1 << 20) if ready else b""
            assert block, "the browser said nothing"
            self._unread += block
        line, self._unread = self._unread.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """End the browser."""
        try:
            self.ask("Browser.close")
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._in)
            os.close(self._out)


@cache
def shared() -> Chromium:
    """The browser of this process, started when it is first asked for; `end_shared` ends it."""
    return Chromium(Path(tempfile.mkdtemp(prefix="chromium-")))


def end_shared() -> None:
    """End the browser of this process, if there is one."""
    if shared.cache_info().currsize:
        shared().close()
        shutil.rmtree(shared().profile, ignore_errors=True)
        shared.cache_clear()


class Tab:
    """One loaded page."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session

    def evaluate(self, script: str, pressed: bool = False) -> Any:
        """The value of a script, of a promise what it keeps; `pressed`: as if the user had pressed something."""
        answer = self._chromium.ask(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=pressed,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def painted(self) -> None:
        """Draw what can be seen: that fetches what layout alone does not."""
        self._chromium.ask("Page.captureScreenshot", self._session)

    def resize(self, width: int, height: int) -> None:
        """Load the page once more on a screen of that size, below 600 pixels that of a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._chromium.ask("Emulation.setDeviceMetricsOverride", self._session, **size)
        self._chromium.events = [event for event in self._chromium.events if event["method"] != "Page.loadEventFired"]
        self._chromium.ask("Page.reload", self._session)
        self._chromium.await_event("Page.loadEventFired", self._session)

    def prefer(self, scheme: str) -> None:
        """Go over to the light or the dark colour scheme."""
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self._chromium.ask("Emulation.setEmulatedMedia", self._session, features=wanted)

    @property
    def requests(self) -> list[str]:
        """Every address that the page asked for, itself among them, but no data in the page."""
        sent = (event["params"] for event in self._events("Network.requestWillBeSent"))
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]

    @property
    def complaints(self) -> list[str]:
        """What the console says: scripts' output and errors, and what the policy refused."""
        said = [str(event["params"]) for event in self._events("Runtime.consoleAPICalled")]
        said += [str(event["params"]) for event in self._events("Runtime.exceptionThrown")]
        return said + [event["params"]["entry"]["text"] for event in self._events("Log.entryAdded")]

    def _events(self, method: str) -> list[dict[str, Any]]:
        self.evaluate("0")  # events of what ran so far come before this answer
        return [
            event
            for event in self._chromium.events
            if event["method"] == method and event.get("sessionId") == self._session
        ]


@contextmanager
def opened(chromium: Chromium, address: str, lawless: bool = False, first: str = "") -> Iterator[Tab]:
    """A page after its load event, in the light colour scheme.

    `lawless`: with its content-security policy switched off. `first`: a script that runs before any of the page's.
    """
    target = chromium.ask("Target.createTarget", url="about:blank")["targetId"]
    session = chromium.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        chromium.ask(f"{domain}.enable", session)
    chromium.ask("Page.setBypassCSP", session, enabled=lawless)
    chromium.ask("Page.addScriptToEvaluateOnNewDocument", session, source=first)
    tab = Tab(chromium, session)
    tab.prefer("light")
    chromium.ask("Page.navigate", session, url=address)
    chromium.await_event("Page.loadEventFired", session)
    try:
        yield tab
    finally:
        chromium.ask("Target.closeTarget", targetId=target)
        chromium.events = [event for event in chromium.events if event.get("sessionId") != session]


def _pipe() -> tuple[int, int]:
    """Reading and writing end, clear of the places that the browser takes."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
