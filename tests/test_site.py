"""The documentation as a site: every page is in its navigation, and `make docs` fails on a link that leads nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import siamese_med
from tests.commands import ROOT
from tests.reporting import browser, devtools

DOCS = ROOT / "docs"
SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
"""What a browser would fetch from another machine when it opens a page."""

TOO_WIDE = """[document.documentElement.scrollWidth > innerWidth + 1 && "page"].concat(
    [...document.images].map(one => !one.naturalWidth && one.src),
    [...document.querySelectorAll(".md-content table")].map(one => {
      const box = one.closest(".md-typeset__scrollwrap") || one.parentElement;
      return innerWidth < 600 && one.scrollWidth > box.clientWidth + 2 && one.rows[0].textContent.trim();
    })).filter(Boolean)"""
"""What of a page is cut: the page itself, a picture that is missing, or, on a phone, a table wider than the screen."""


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w-]+\.md\b", SETTINGS.split("\nnav:\n")[1]))
    assert {page.name for page in DOCS.glob("*.md")} - named == set()


def test_every_public_name_is_in_the_python_reference() -> None:
    named = re.findall(r"^::: siamese_med\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(siamese_med.__all__)


def build(folder: Path, change: str = "") -> subprocess.CompletedProcess[str]:
    """Build the site below `folder`, from the pages with one more line on one of them."""
    pytest.importorskip("mkdocs", reason="`make docs` installs mkdocs")
    for path in ROOT.iterdir():
        if path.name in ("mkdocs.yml", "reports", "siamese_med") or path.suffix in (".md", ".cff"):
            (folder / path.name).symlink_to(path)
    shutil.copytree(DOCS, folder / "docs")
    with (folder / "docs" / "scores.md").open("a", encoding="utf-8") as page:
        page.write(change)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_site_is_built_and_fetches_nothing(tmp_path: Path) -> None:
    done = build(tmp_path, "\n[Stages](../siamese_med/pipeline/stages.py) [Security](../SECURITY.md)\n")
    assert done.returncode == 0, done.stderr
    pages = {page.name: page.read_text(encoding="utf-8") for page in (tmp_path / "site").glob("*.html")}
    assert {name for name, text in pages.items() if LOADED.search(text)} == set()
    assert 'id="siamese_med.compare"' in pages["api.html"]
    assert '<p>Stages <a href="security.html">Security</a></p>' in pages["scores.html"]
    assert '<td data-label="Unit">mL</td>' in pages["columns.html"]


@pytest.mark.long
@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_nothing_is_cut_on_a_desk_or_a_phone(tmp_path: Path) -> None:
    assert build(tmp_path).returncode == 0
    pages = sorted((tmp_path / "site").glob("*.html"))
    assert len(pages) > 50
    cut = {}
    for page in pages:
        with devtools.opened(devtools.shared(), page.as_uri()) as tab:
            for width in (1280, 390):
                tab.resize(width, 900)
                cut[page.name, width] = tab.evaluate(TOO_WIDE)
    assert {where: what for where, what in cut.items() if what} == {}


@pytest.mark.long
def test_links_that_lead_nowhere_fail(tmp_path: Path) -> None:
    links = ["gone.md", "../siamese_med/gone.py", "stages.md#gone", "gone.png"]
    done = build(tmp_path, "\n" + " ".join(f"![one]({link})" if "png" in link else f"[one]({link})" for link in links))
    assert done.returncode != 0
    assert [link for link in links if link not in done.stderr] == []


def test_what_another_machine_would_send_is_seen() -> None:
    assert LOADED.search('<script src="https://unpkg.com/iframe-worker/shim">')
    assert LOADED.search('<link rel="stylesheet" href=//example.org/a.css>')
    assert not LOADED.search('<a href="https://example.org">')
