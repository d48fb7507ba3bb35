"""What a reader asks first is answered on the first screen of a patient's page, or one click from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from siamese_med.study.tables import SIGNIFICANCE_ATTRIBUTE, ReportExtras
from tests.reporting import browser, devtools
from tests.reporting.conftest import Inputs, build, pseudonym
from tests.reporting.devtools import Chromium, Tab
from tests.reporting.test_lesions_page import LESIONS, state
from tests.reporting.test_pages import Reader

needs_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)


def path(inputs: Inputs, name: str) -> Path:
    return inputs.reports / pseudonym(name) / "report.html"


def words(text: str) -> str:
    return " ".join(Reader(text).text.split())


def card(page: str) -> str:
    return page[page.index('<section class="verdict') :].partition("</section>")[0]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A patient who changed, and one who did not, with lesions that were marked on three dates."""
    inputs = build(tmp_path_factory.mktemp("questions")).only("changed", "stable")
    inputs.lesions = (*LESIONS[:-1], state(3, None, "total", 3.4, "unknown"), state(3, 1, "stable", 0.5, "stable"))
    inputs.write()
    return inputs


def test_the_verdict_card_says_what_changed_where_and_how_much_and_leads_to_its_slice(pages: Inputs) -> None:
    page = path(pages, "changed").read_text(encoding="utf-8")
    assert "Strongest part 1.20 ml new, brighter, (11, -24, 30)" in words(card(page))
    (target,) = re.findall(r'Strongest part</dt><dd><a href="#([\w-]+)"', page)
    assert f'id="{target}"' in page


def test_a_patient_without_change_has_the_strongest_place_to_look_at(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.scores["verdict"] = "uncertain"
    inputs.write()
    told = words(card(path(inputs, "changed").read_text(encoding="utf-8")))
    assert "Strongest place to look at 1.20 ml may be chance, brighter, (11, -24, 30)" in told
    assert "Strongest part" not in told


def test_a_changed_pair_that_might_hide_more_does_not_say_that_nothing_would_have_been_seen(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.scores["smallest_detectable_ml"] = float("nan")
    inputs.scores["interval_days"] = float("nan")
    inputs.write()
    told = words(card(path(inputs, "changed").read_text(encoding="utf-8")))
    assert "Might be missed even 8 ml elsewhere" in told
    assert "not even" not in told
    assert "ses-5 to ses-6, interval unknown" in told


def test_every_section_is_one_click_away(pages: Inputs) -> None:
    for name in ("changed", "stable"):
        page = path(pages, name).read_text(encoding="utf-8")
        links = page[page.index('<nav class="jump"') :].partition("</nav>")[0]
        targets = re.findall(r'href="#([\w-]+)"', links)
        assert {"paste", "time-line", "answers", "meanings", "quality", "provenance"} <= set(targets)
        assert ("lesions-over-time" in targets) == (name == "stable")
        assert [target for target in targets if page.count(f'id="{target}"') != 1] == []


@pytest.mark.parametrize("verdict", ["uncertain", "not_comparable"])
def test_changes_between_earlier_visits_are_named_where_the_verdict_is_another_one(
    tmp_path: Path, verdict: str
) -> None:
    inputs = replace(build(tmp_path).only("changed"), extras=ReportExtras(fhir=True))
    ends = inputs.scores["scan_b"].str.contains("ses-6")
    inputs.scores.loc[ends, "verdict"] = verdict
    inputs.write()
    told = json.loads(path(inputs, "changed").with_name("report.json").read_text(encoding="utf-8"))
    changed = [pair for pair in told["pairs"] if pair["status"] == "changed"]
    assert told["headline"]["status"] == verdict
    assert changed
    bundle = json.loads(path(inputs, "changed").with_name("report.fhir.json").read_text(encoding="utf-8"))
    (conclusion,) = [one["resource"]["conclusion"] for one in bundle["entry"] if "conclusion" in one["resource"]]
    for text in (conclusion, path(inputs, "changed").with_name("report.txt").read_text(encoding="utf-8")):
        assert "between other visits there is change beyond that of a repeated scan" in " ".join(text.split())
    (note,) = [one for one in told["warnings"] if one.startswith("Pairs on which the verdict")]
    assert f"FLAIR, {changed[0]['earlier_session']} to {changed[0]['later_session']}" in note


def test_a_changed_patient_needs_no_such_note(pages: Inputs) -> None:
    assert "on which the verdict does not rest" not in path(pages, "changed").read_text(encoding="utf-8")


def test_three_dates_with_masks_have_a_chart_of_the_lesion_load_and_two_have_none(
    pages: Inputs, tmp_path: Path
) -> None:
    chart = 'aria-label="Lesion load in FLAIR on 3 dates; figures in the last line of the table"'
    page = path(pages, "stable").read_text(encoding="utf-8")
    assert chart in page
    drawn = page[page.index(chart) :].partition("</svg>")[0]
    assert [f"{volume} ml" in drawn.replace("\u00a0", " ") for volume in ("1.76", "2.58", "3.40")] == [True] * 3
    two = build(tmp_path).only("stable")
    two.lesions = LESIONS
    two.write()
    assert "Lesion load in FLAIR on" not in path(two, "stable").read_text(encoding="utf-8")


@contextmanager
def on_a_phone(chromium: Chromium, page: Path) -> Iterator[Tab]:
    """A page on a screen of 390 pixels."""
    with devtools.opened(chromium, page.as_uri()) as tab:
        tab.resize(390, 800)
        yield tab


@needs_browser
def test_a_phone_shows_whole_captions_the_newest_visit_and_every_verdict(pages: Inputs, chromium: Chromium) -> None:
    script = """(() => {
      const right = (part) => part.getBoundingClientRect().right;
      const most = (selector) => Math.max(...[...document.querySelectorAll(selector)].map(right));
      return {
        captions: most('caption > span'),
        newest: most('.timeline svg .mark'),
        verdicts: most('.timeline table .badge'),
        page: document.documentElement.scrollWidth,
      };
    })()"""
    with on_a_phone(chromium, path(pages, "changed")) as tab:
        found: dict[str, Any] = tab.evaluate(script)
    assert {name: right for name, right in found.items() if right > 390} == {}


@needs_browser
@pytest.mark.parametrize("name", ["report.html", "index.html", "model.html"])
def test_on_a_phone_a_row_of_a_table_is_a_card_with_the_words_of_its_columns(
    pages: Inputs, chromium: Chromium, name: str
) -> None:
    script = """(() => {
      const tables = [...document.querySelectorAll('.scroll > table.cards')].filter((table) => table.offsetParent);
      const cells = tables.flatMap((table) => [...table.querySelectorAll('tbody th, tbody td')]);
      const shown = cells.filter((cell) => cell.getBoundingClientRect().width);
      return {
        tables: tables.length,
        wide: shown.filter((cell) => cell.getBoundingClientRect().right > 390).map((cell) => cell.textContent),
        nameless: shown.filter((cell) => cell.colSpan === 1 && !cell.dataset.label).map((cell) => cell.textContent),
      };
    })()"""
    page = path(pages, "changed") if name == "report.html" else pages.reports / name
    with on_a_phone(chromium, page) as tab:
        found: dict[str, Any] = tab.evaluate(script)
    assert found["tables"] > 0
    assert found["wide"] == []
    assert found["nameless"] == []


@needs_browser
def test_what_changed_is_outlined_on_both_dates_until_the_reader_hides_it(pages: Inputs, chromium: Chromium) -> None:
    shown = "[...document.querySelectorAll('.panels .outline')].filter((line) => line.getClientRects().length).length"
    with devtools.opened(chromium, path(pages, "changed").as_uri()) as tab:
        drawn = tab.evaluate(shown)
        assert drawn > 0
        assert drawn % 2 == 0, "on the earlier and the later date"
        tab.evaluate("document.querySelectorAll('.outlines').forEach((button) => button.click())")
        assert tab.evaluate(shown) == 0
        tab.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'o', bubbles: true}))")
        assert 0 < tab.evaluate(shown) <= drawn
        assert tab.complaints == []


@needs_browser
def test_a_picture_opens_large_and_the_arrow_keys_lead_on(pages: Inputs, chromium: Chromium) -> None:
    label = "document.querySelector('dialog.large').getAttribute('aria-label')"
    with devtools.opened(chromium, path(pages, "changed").as_uri()) as tab:
        assert tab.evaluate("document.querySelector('dialog.large').open") is False
        small = tab.evaluate("document.querySelector('.panels svg').getBoundingClientRect().width")
        tab.evaluate("document.querySelector('.panels .enlarge').click()")
        assert tab.evaluate("document.querySelector('dialog.large').open") is True
        assert tab.evaluate("document.querySelector('dialog.large svg').getBoundingClientRect().width") > 1.5 * small
        first = tab.evaluate(label)
        key = "document.querySelector('dialog.large').dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}))"
        tab.evaluate(key % "ArrowRight")
        assert tab.evaluate(label) != first
        tab.evaluate(key % "ArrowLeft")
        assert tab.evaluate(label) == first
        assert tab.evaluate("document.querySelectorAll('dialog.large [id]').length") == 0, "no id stands twice"
        tab.evaluate("document.querySelector('dialog.large button').click()")
        assert tab.evaluate("document.querySelector('dialog.large').open") is False
        assert tab.complaints == []


@needs_browser
def test_a_link_to_a_folded_section_opens_it(pages: Inputs, chromium: Chromium) -> None:
    with devtools.opened(chromium, path(pages, "changed").as_uri()) as tab:
        assert tab.evaluate("document.getElementById('paste').open") is False
        tab.evaluate("document.querySelector('.jump a[href$=paste]').click()", pressed=True)
        opened = "new Promise((done) => setTimeout(() => done(document.getElementById('paste').open), 200))"
        assert tab.evaluate(opened) is True


def test_a_small_significance_is_not_rounded_to_nothing(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.scores.attrs[SIGNIFICANCE_ATTRIBUTE] = 0.001
    inputs.write()
    page = Reader(path(inputs, "changed").read_text(encoding="utf-8")).text
    assert page.count("below 0.001") >= 2
    assert "below 0.00 " not in page
