"""Scripts in what others wrote, such as a series' description: nothing of it runs, nor would without the policy."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from siamese_med.reporting.write import ingest_page
from siamese_med.study.config import ReportConfig
from siamese_med.study.tables import SeriesAccount
from tests.reporting import browser, devtools
from tests.reporting.conftest import HOSTILE, Builder, Inputs, pseudonym
from tests.reporting.devtools import Chromium
from tests.reporting.inventories import inventory, picture, refused, scanned

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)

PAYLOADS = (
    HOSTILE,
    '"><img src=x onerror="owned()">',
    "'><svg onload=owned()>",
    '" onmouseover="owned()" tabindex="1" onfocus="owned()" x="',
    "</style></title><script>owned()</script>",
    "javascript:owned()",
    "{{ owned() }}{% raw %}<script>owned()</script>",
    "<!--<script>owned()</script>",
)
TITLE = PAYLOADS[1] + PAYLOADS[4]
TELLTALE = "window.ran = 0; window.owned = () => { window.ran += 1; };"
PROVOKE = """(async () => {
  document.querySelectorAll('details').forEach((fold) => { fold.open = true; });
  for (const part of document.querySelectorAll('*')) part.dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
  document.querySelectorAll('a').forEach((link) => { if (link.protocol === 'javascript:') link.click(); });
  document.querySelectorAll('button, [tabindex]').forEach((part) => { part.focus(); part.click?.(); });
  await new Promise((done) => setTimeout(done, 50));
  return [window.ran, document.title.startsWith('owned'), document.scripts.length];
})()"""
"""How often a payload ran, whether one took the title, and how many scripts there are: the page's own is one."""


def came_of_it(chromium: Chromium, page: Path) -> Any:
    """What the payloads did with the page's policy switched off, and that the policy found nothing to refuse."""
    with devtools.opened(chromium, page.as_uri(), lawless=True, first=TELLTALE) as tab:
        done = tab.evaluate(PROVOKE)
    with devtools.opened(chromium, page.as_uri()) as tab:
        return [*done, tab.complaints]


NOTHING = [0, False, 1, []]


@pytest.fixture(scope="module")
def attacked(written: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A study in which every free text is a payload; each patient has one."""
    folder = tmp_path_factory.mktemp("attacked")
    builder = Builder(folder / "data")
    for number, bad in enumerate(PAYLOADS):
        _attack(builder, pseudonym(f"bad{number}"), bad)
    names = ("scans", "scores", "alignments", "owners")
    made = {name: pd.DataFrame(getattr(builder, name), columns=getattr(written, name).columns) for name in names}
    config = ReportConfig(title=TITLE)
    inputs = replace(written, reports=folder / "reports", data=builder.data, config=config, **made)
    inputs.write()
    return inputs


def _attack(builder: Builder, subject: str, bad: str) -> None:
    kinds = dict.fromkeys(("protocol", "contrast", "modality", "scanner", "sha256"), bad)
    builder.visits(subject, 3, date=None, flags=[bad], **kinds)
    part = {"kind": bad, "volume_ml": 1.0, "sign": 1, "p": 0.01, "earlier_mm": [1, 2, 3]}
    words = {"kind": "follow_up", "split": bad, "components": [part]}
    stratum = {"stratum": bad, "source": bad, "n": 1}
    builder.pair(subject, 1, 2, 3.0, False, reference=stratum, **words)
    builder.pair(subject, 2, 3, 0.0, False, comparable=False, verdict="not_comparable", reasons=[bad], map=bad, **words)
    builder.alarm(subject, 3, -4.0, pseudonym("bad0"), 3.0)
    renamed = {f"{subject}_ses-{number}_FLAIR": f"{subject}_{bad}{number}" for number in (1, 2, 3)}
    for row in (*builder.scans, *builder.scores, *builder.alignments, *builder.owners):
        row.update({key: renamed[value] for key, value in row.items() if isinstance(value, str) and value in renamed})
    for scan in builder.scans:
        if scan["subject"] == subject:
            scan["session"] = scan["id"].split("_", 1)[1]


def test_nothing_runs_on_the_index(attacked: Inputs, chromium: Chromium) -> None:
    assert came_of_it(chromium, attacked.reports / "index.html") == NOTHING


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_nothing_runs_on_a_patients_page(attacked: Inputs, chromium: Chromium, number: int) -> None:
    page = attacked.reports / pseudonym(f"bad{number}") / "report.html"
    assert page.read_text(encoding="utf-8").count(html.escape(PAYLOADS[number], quote=False)[-9:]) > 5
    assert came_of_it(chromium, page) == NOTHING


def test_nothing_runs_on_the_ingest_page(chromium: Chromium, tmp_path: Path) -> None:
    series = [_spoilt(scanned(f"bad{number}", (bad,), picture()), bad) for number, bad in enumerate(PAYLOADS)]
    series += [_spoilt(refused(f"worse{number}", **{bad: 3}), bad) for number, bad in enumerate(PAYLOADS)]
    known = inventory()
    words = dict.fromkeys(PAYLOADS, "quarantined")
    hints = {bad: bad for bad in PAYLOADS}
    found = replace(known, series=tuple(series), loose=dict.fromkeys(PAYLOADS, 2), outcomes=words, hints=hints)
    page = ingest_page.write_ingest_page(tmp_path / "ingest.html", " ".join(PAYLOADS), replace(found, flags=hints))
    assert came_of_it(chromium, page) == NOTHING


def _spoilt(series: SeriesAccount, bad: str) -> SeriesAccount:
    scans = tuple(replace(one, contrast=bad) for one in series.scans)
    return replace(series, label=bad, session=bad, modality=bad, contrast=bad, source=bad, scans=scans)


@pytest.mark.parametrize("number", [number for number, bad in enumerate(PAYLOADS) if "<" in bad or " on" in bad])
def test_a_payload_that_is_not_escaped_would_run(
    attacked: Inputs, chromium: Chromium, tmp_path: Path, number: int
) -> None:
    text = (attacked.reports / pseudonym(f"bad{number}") / "report.html").read_text(encoding="utf-8")
    bare = html.unescape(text[text.index("<body>") :]) if " on" in PAYLOADS[number][:5] else html.unescape(text)
    page = tmp_path / "bare.html"
    page.write_text(bare, encoding="utf-8")
    assert came_of_it(chromium, page) != NOTHING
