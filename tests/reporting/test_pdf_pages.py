"""The PDF of a patient's page: tagged, whole, the same each time, and made without asking anybody."""

from __future__ import annotations

import builtins
import io
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pypdf import PdfReader

from siamese_med.errors import UsageError
from siamese_med.reporting.render import pdf_pages
from tests.reporting.conftest import Inputs, pseudonym

try:
    import weasyprint  # noqa: F401

    ABSENT = ""
except OSError:
    ABSENT = "no Pango here: install Debian's package libpangoft2-1.0-0 to run this test"


@pytest.fixture(scope="module")
def printed(written: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PDF of the patient with six visits."""
    if ABSENT:
        pytest.skip(ABSENT)
    study = replace(written.only("changed"), reports=tmp_path_factory.mktemp("printed"))
    replace(study, extras=replace(study.extras, pdf=True)).write()
    return study.reports / pseudonym("changed") / "report.pdf"


def elements(node: Any) -> list[dict[str, Any]]:
    """All structure elements below a node."""
    node = node.get_object()
    if isinstance(node, list):
        return [one for child in node for one in elements(child)]
    if not isinstance(node, dict):
        return []
    below = elements(node["/K"]) if "/K" in node else []
    return [node, *below] if "/S" in node else below


def test_it_is_tagged_with_headings_tables_and_words_for_every_picture(printed: Path) -> None:
    reader = PdfReader(printed)
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    found = elements(root["/StructTreeRoot"])
    kinds = [one["/S"] for one in found]
    assert {"/H1", "/H2", "/H3", "/Table", "/TH", "/P"} <= set(kinds)
    words = [one.get("/Alt", "") for one in found if one["/S"] == "/Figure"]
    assert all(words)
    assert sum("probability of change over the earlier scan" in text for text in words) == 6 * 5
    assert any(text.startswith("Time line of FLAIR, 6 visits") for text in words)


def test_every_pair_is_in_it_and_every_page_says_research_use_only(printed: Path) -> None:
    pages = [page.extract_text() for page in PdfReader(printed).pages]
    assert all(f"Research use only. Page {number} of {len(pages)}" in text for number, text in enumerate(pages, 1))
    text = "\n".join(pages)
    for pair in ("ses-5 to ses-6", "ses-1 to ses-6", "ses-4 to ses-5", "ses-1 to ses-2"):
        assert text.count(pair) >= 2, pair  # in the table of pairs, and over its slices
    assert "to keep it small" not in text


def test_the_change_map_lies_on_the_earlier_scan(printed: Path) -> None:
    """A browser shows one SVG's picture in another; in print it has to be there twice."""
    drawn = sum(page.get_contents().get_data().count(b" Do") for page in PdfReader(printed).pages)
    assert drawn >= 6 * 5 * 5  # earlier, later, difference, and two for the map


def test_the_same_page_gives_the_same_bytes(written: Inputs) -> None:
    if ABSENT:
        pytest.skip(ABSENT)
    page = (written.reports / pseudonym("single") / "report.html").read_text(encoding="utf-8")
    assert pdf_pages.render_pdf(page) == pdf_pages.render_pdf(page)


def test_nothing_is_fetched() -> None:
    if ABSENT:
        pytest.skip(ABSENT)
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    source = f"http://127.0.0.1:{server.server_port}/x"
    page = f'<html lang="en"><head><title>x</title><link rel="stylesheet" href="{source}.css"></head>'
    page += f'<body><p>text</p><img src="{source}.png" alt="x"><img src="file:///etc/passwd" alt="y"></body></html>'
    made = PdfReader(io.BytesIO(pdf_pages.render_pdf(page)))
    server.shutdown()
    assert "text" in made.pages[0].extract_text()
    assert asked == []


def test_without_pango_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="install libpango"):
        pdf_pages.render_pdf("<p>text</p>")
