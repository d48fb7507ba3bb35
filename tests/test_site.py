"""The documentation as a site: every page is in its navigation, and `make docs` fails on a link that leads nowhere."""

from __future__ import annotations

import json
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

QUESTIONS = {
    "gantry tilt": "is-a-ct-with-a-tilted-gantry-or-a-series-with-a-missing-slice-used",
    "repeatability ICC": "has-repeatability-been-measured-icc-test-retest-repeatability-coefficient",
    "old verdicts change add visit": "do-old-verdicts-change-when-i-add-a-visit",
    "score one lesion only": "can-i-score-change-in-one-region-or-one-lesion-only",
    "lost secret key": "i-lost-the-secret-key-what-now",
    "limit memory cores": "how-do-i-limit-cores-and-memory",
    "two people same study": "can-two-people-use-one-study-at-the-same-time",
    "Excel R SPSS": "how-do-i-open-the-tables-in-excel-r-or-spss",
    "stop nightly runs": "how-do-i-stop-nightly-runs",
    "1.5 T and 3 T": "can-i-compare-a-scan-at-15-t-with-one-at-3-t",
    "colours of the change map": "what-do-the-colours-of-a-difference-and-of-a-change-map-mean",
    "log file": "where-is-the-log-file-what-do-i-send-with-a-bug-report",
    "patient had surgery": "what-if-a-patient-had-surgery-between-two-visits",
    "what does z mean": "what-does-z-mean",
    "lesion masks": "how-do-i-give-my-lesion-masks",
    "move a study": "how-do-i-move-a-study",
    "wrong date": "a-date-in-a-header-is-wrong-how-do-i-correct-it",
    "zip files": "are-zip-files-jpeg-2000-and-enhanced-dicom-read",
    "multiple comparisons": "i-look-at-many-patients-is-p-corrected-for-that-multiple-comparisons",
    "PACS did not answer": "the-pacs-did-not-answer-last-night-what-now",
    "test patients": "which-patients-are-the-test-patients-of-a-model",
    "older Python": "i-have-an-older-python-and-no-root-rights-what-now",
    "children": "does-it-work-for-children",
    "slice thickness": "which-slice-thickness-is-needed-can-2d-and-3d-scans-be-compared",
    "consent withdrawn": "how-do-i-remove-a-patient-for-example-after-consent-was-withdrawn",
    "skull-stripped": "are-skull-stripped-brain-extracted-scans-read",
    "merge two patient IDs": "one-patient-has-two-patient-ids-how-do-i-merge-them",
    "share trained model": "may-i-share-a-model-that-i-trained",
    "night failed": "how-do-i-notice-that-a-night-failed-or-did-not-run",
    "clinical data": "how-do-i-join-the-results-with-clinical-data-for-statistics",
}
"""What a user types into the search, and the answer that has to come first on the page of questions."""
SEARCH = """(async () => {
  const field = document.querySelector(".md-search__input");
  field.focus();
  field.value = QUERY;
  field.dispatchEvent(new Event("input", {bubbles: true}));
  field.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}));
  for (let tries = 0; tries < 600; tries++) {
    await new Promise(done => setTimeout(done, 100));
    const found = [...document.querySelectorAll(".md-search-result__item")[0]?.querySelectorAll("a") || []]
      .map(one => new URL(one.href));
    if (found.length) return found.map(one => one.hash.slice(1)).filter(Boolean)[0] || "";
  }
  return "no answer in a minute";
})()"""
"""Types QUERY into the search of a page, and returns the anchor of the first section that it shows."""


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
@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_the_search_shows_the_answers_first(tmp_path: Path) -> None:
    assert build(tmp_path).returncode == 0
    answers = {}
    for query in QUESTIONS:
        with devtools.opened(devtools.shared(), (tmp_path / "site" / "index.html").as_uri()) as tab:
            answers[query] = tab.evaluate(SEARCH.replace("QUERY", json.dumps(query)))
    assert answers == QUESTIONS


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
