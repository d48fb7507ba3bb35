"""The index of a large study: rows beyond the first ones are data, of which the page's script makes the same rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.pages import Bench
from siamese_med.reporting.data import cohort_index
from siamese_med.reporting.data.cohort_index import CohortIndex, CohortRow
from siamese_med.reporting.data.verdicts import STATUSES
from siamese_med.reporting.render import index_rows, pages
from siamese_med.study.tables import IngestAccount
from tests.reporting import browser, devtools
from tests.reporting.conftest import pseudonym
from tests.reporting.devtools import Chromium, Tab

ROWS = 230
HOSTILE = "</script><img src=x onerror=document.title='owned'>"
TABLE = "[...document.querySelectorAll('#patients tbody tr')]"
SHOW_ALL = "document.querySelector('#patients').closest('.scroll').nextElementSibling.click()"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortIndex:
    """Rows of all kinds, after one that a report was made of."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    subject = pseudonym("one")
    bench.builder.visits(subject, 2)
    bench.builder.pair(subject, 1, 2, 4.0, pictures=False)
    account = IngestAccount(0, 0, 0, 0, 0, {})
    made = cohort_index.build_cohort_index("A study", [bench.report(subject)], account, *bench.described)
    rows = tuple(_vary(made.rows[0], number) for number in range(ROWS))
    found = Counter(word for row in rows for word in row.words)
    return replace(made, rows=rows, patients=ROWS, counts={word: found[word] for word in STATUSES})


def _vary(row: CohortRow, number: int) -> CohortRow:
    statuses = [word for word in STATUSES if word != "claimed"]
    missing = number % 7 == 3
    return replace(
        row,
        subject=f"sub-{number:026d}",
        status=statuses[number % len(statuses)],
        claimed=number % 5 == 0,
        contrasts=() if missing else ("FLAIR", "T1"),
        uncertain=("T2",) if number % 3 == 0 else (),
        not_compared=(HOSTILE,) if number == ROWS - 1 else (),
        reasons=("pair_alignment_failed",) if number % 4 == 0 else (),
        change_z=None if missing else -1.25 * (number % 11),
        change_p=None if missing else 1 / (number + 1),
        interval_days=None if missing else 12345 - number,
        lowest_similarity=None if missing else 1 - 1 / (number + 3),
    )


def test_rows_that_are_not_shown_yet_are_data(cohort: CohortIndex) -> None:
    text = pages.render_index_page(cohort)
    assert text.count("<tr data-status=") == index_rows.LISTED_ROWS
    (block,) = re.findall(r'<script type="application/json" id="further">(.*?)</script>', text, flags=re.S)
    assert [one[0] for one in json.loads(block)] == [row.subject for row in cohort.rows[index_rows.LISTED_ROWS :]]
    assert HOSTILE not in text
    small = pages.render_index_page(replace(cohort, rows=cohort.rows[: index_rows.LISTED_ROWS]))
    assert 'id="further"' not in small
    assert "noscript" not in small


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_the_script_makes_the_rows_that_the_page_would_have(
    cohort: CohortIndex, chromium: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, whole = tmp_path / "cut.html", tmp_path / "whole.html"
    cut.write_text(pages.render_index_page(cohort), encoding="utf-8")
    monkeypatch.setattr(index_rows, "LISTED_ROWS", ROWS)
    whole.write_text(pages.render_index_page(cohort), encoding="utf-8")
    with devtools.opened(chromium, cut.as_uri()) as one, devtools.opened(chromium, whole.as_uri()) as other:
        assert len(shown(one)) == 200
        for column in (0, 1, 5, 7, 8, 10):
            press = f"document.querySelectorAll('#patients thead button')[{column}].click()"
            for tab in (one, other):
                tab.evaluate(press)
            assert shown(one) == shown(other), column
        for tab in (one, other):
            tab.evaluate(SHOW_ALL)
        assert shown(one) == shown(other)
        assert len(shown(one)) == ROWS
        assert one.evaluate("document.title") != "owned"


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_search_and_statuses_find_rows_that_are_not_shown_yet(
    cohort: CohortIndex, chromium: Chromium, tmp_path: Path
) -> None:
    page = tmp_path / "index.html"
    page.write_text(pages.render_index_page(cohort), encoding="utf-8")
    last = cohort.rows[-2]
    with devtools.opened(chromium, page.as_uri()) as tab:
        tab.evaluate(f"const box = document.getElementById('search'); box.value = '{last.subject}'; box.focus()")
        tab.evaluate("document.getElementById('search').dispatchEvent(new Event('input'))")
        assert [re.findall(r'title="(sub-\w+)"', row) for row in shown(tab)] == [[last.subject]]
        assert tab.evaluate("document.getElementById('found').textContent") == f"1 of {ROWS}"
        tab.evaluate("document.getElementById('search').value = ''")
        tab.evaluate("document.querySelector('.chip.claimed').click()")
        assert len(shown(tab)) == sum(bool(row.claimed) for row in cohort.rows)


def shown(tab: Tab) -> list[str]:
    """The rows that can be seen, as HTML without what only tells whether they are."""
    rows = tab.evaluate(f"{TABLE}.filter((row) => row.offsetHeight).map((row) => row.outerHTML)")
    return [re.sub(r'\s+(?=<)| class=""| class="later"', "", row) for row in rows]
