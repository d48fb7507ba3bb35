"""A page asks for nothing but its own file, even with its policy switched off: so the policy hides nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from siamese_med.reporting.write import ingest_page
from tests.reporting import browser, devtools
from tests.reporting.conftest import Inputs, pseudonym
from tests.reporting.devtools import Chromium
from tests.reporting.inventories import MIXED

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)

PATIENTS = ("changed", "stable", "mixed", "unlike", "single", "bare")
PRESS = "document.querySelectorAll('button, summary').forEach((part) => part.click()); scrollTo(0, 1e6);"
OUTWARD = """[...document.querySelectorAll('*')].filter((part) => part.tagName !== 'A')
  .flatMap((part) => ['href', 'src', 'srcset', 'data', 'poster', 'action'].map((name) => part.getAttribute(name)))
  .filter((address) => address && !/^(data:|#)/.test(address))"""
"""Addresses outside the page in anything but a link: a preconnect asks for nothing, and yet calls."""


class Listener:
    """A server that answers nobody and writes down whatever it is asked."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x"
        self.asked: Queue[str] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with connection:
                self.asked.put(connection.recv(4096).decode("latin-1"))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


def asked(chromium: Chromium, page: Path) -> list[str]:
    """The addresses that a page asks for, or holds ready to, when all is pressed."""
    with devtools.opened(chromium, page.as_uri(), lawless=True) as tab:
        tab.evaluate(PRESS)
        tab.painted()
        return [*tab.requests, *tab.evaluate(OUTWARD)]


@pytest.mark.parametrize("name", ["index", "model", "step", *PATIENTS])
def test_a_page_asks_for_its_own_file_alone(written: Inputs, chromium: Chromium, name: str) -> None:
    page = written.reports / (f"{pseudonym(name)}/report.html" if name in PATIENTS else f"{name}.html")
    page = written.reports / pseudonym("changed") / "pair-3.html" if name == "step" else page
    assert asked(chromium, page) == [page.as_uri()]


def test_the_ingest_page_asks_for_its_own_file_alone(chromium: Chromium, tmp_path: Path) -> None:
    page = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", MIXED)
    assert asked(chromium, page) == [page.as_uri()]


@pytest.mark.parametrize(
    "what",
    [
        "<img src='{address}'>",
        "<style>body {{ background: url({address}) }}</style>",
        "<script>fetch('{address}')</script>",
        "<script>navigator.sendBeacon('{address}')</script>",
    ],
)
def test_a_request_is_seen_and_the_policy_forbids_it(
    written: Inputs, chromium: Chromium, listener: Listener, tmp_path: Path, what: str
) -> None:
    text = (written.reports / "model.html").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    page.write_text(text.replace("</main>", what.format(address=listener.address) + "</main>"), encoding="utf-8")
    with devtools.opened(chromium, page.as_uri()) as tab:
        tab.painted()
        assert tab.complaints
    assert listener.address in asked(chromium, page)
    assert listener.asked.get(timeout=300).startswith(("GET /x", "POST /x"))
    assert listener.asked.empty()  # the first visit, under the policy, did not come through


def test_a_connection_that_is_only_prepared_is_seen(written: Inputs, chromium: Chromium, tmp_path: Path) -> None:
    text = (written.reports / "model.html").read_text(encoding="utf-8")
    page, link = tmp_path / "page.html", "<link rel='preconnect' href='http://127.0.0.1:18099/x'>"
    page.write_text(text.replace("</head>", f"{link}</head>"), encoding="utf-8")
    assert asked(chromium, page) == [page.as_uri(), "http://127.0.0.1:18099/x"]
