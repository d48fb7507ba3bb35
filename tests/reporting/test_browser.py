"""The pages in a real browser, from their files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reporting import browser, devtools
from tests.reporting.conftest import Inputs, pseudonym
from tests.reporting.devtools import Chromium

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)


def patient(written: Inputs, name: str) -> Path:
    return written.reports / pseudonym(name) / "report.html"


@pytest.mark.parametrize("name", ["index", "model", "changed", "bare"])
def test_the_console_stays_silent_and_no_injected_script_runs(written: Inputs, name: str) -> None:
    page = written.reports / f"{name}.html" if name in ("index", "model") else patient(written, name)
    seen = browser.visit(page)
    assert seen.console == ()
    assert "<title>owned" not in seen.document
    assert "</html>" in seen.document


def test_an_injected_script_is_refused_by_the_policy(written: Inputs, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = patient(written, "bare").read_text(encoding="utf-8")
    broken.write_text(text.replace("</body>", "<script>document.title='owned'</script></body>"), encoding="utf-8")
    seen = browser.visit(broken)
    assert "<title>owned" not in seen.document
    assert any("Content Security Policy" in line for line in seen.console)


def test_the_key_b_blinks_the_nearest_pair_and_again_stops(written: Inputs) -> None:
    press = "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'b', bubbles: true}));"
    press = press.replace("document.", "document.body.")
    once = browser.visit(patient(written, "changed"), press)
    assert once.document.count('class="pair blinking"') == 1
    assert once.document.count('class="blink" aria-pressed="true"') == 1
    assert once.console == ()
    twice = browser.visit(patient(written, "changed"), press + press)
    assert "blinking" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", twice.document, flags=re.S)


def test_blinking_shows_the_later_slice_in_the_earlier_panel(written: Inputs) -> None:
    script = """
    const shown = () => getComputedStyle(document.querySelector('.panels use.second')).visibility;
    const before = shown();
    document.querySelector('button.blink').click();
    document.body.dataset.shown = before + ' ' + shown();
    """
    assert 'data-shown="hidden visible"' in browser.visit(patient(written, "changed"), script).document


def first_patients(document: str) -> list[str]:
    return re.findall(r'<tr data-status="[\w ]+"(?: hidden="")?>.*?title="(sub-\w+)"', document, flags=re.S)


def test_the_table_sorts_by_number_with_missing_values_last(written: Inputs) -> None:
    click = "[...document.querySelectorAll('#patients thead button')].find((b) => b.textContent === 'z').click();"
    upwards = first_patients(browser.visit(written.reports / "index.html", click).document)
    assert upwards[:3] == [pseudonym("stable"), pseudonym("changed"), pseudonym("mixed")]
    downwards = first_patients(browser.visit(written.reports / "index.html", click + click).document)
    assert downwards[:3] == upwards[:3][::-1]
    assert set(upwards[3:]) == set(downwards[3:]) == {pseudonym(name) for name in ("unlike", "single", "bare")}


@pytest.mark.parametrize(
    ("chip", "word", "left"), [("not_comparable", "other contrast", "unlike"), ("claimed", "rescan", "stable")]
)
def test_chips_and_search_leave_only_the_rows_that_fit(written: Inputs, chip: str, word: str, left: str) -> None:
    script = f"""
    document.querySelector('[data-status={chip}].chip').click();
    const box = document.getElementById('search');
    box.value = '{word}';
    box.dispatchEvent(new Event('input'));
    """
    document = browser.visit(written.reports / "index.html", script).document
    rows = re.findall(r'<tr data-status="[\w ]+"( hidden="")?>.*?title="(sub-\w+)"', document, flags=re.S)
    assert [subject for hidden, subject in rows if not hidden] == [pseudonym(left)]
    assert ">1 of 6</output>" in document


def test_a_long_table_shows_its_first_rows_and_sorts_and_searches_them_all(
    written: Inputs, chromium: Chromium, tmp_path: Path
) -> None:
    text = (written.reports / "index.html").read_text(encoding="utf-8")
    before, row, after = re.split(r'(<tr data-status="changed">.*?</tr>)', text, maxsplit=1, flags=re.S)
    named = [re.sub(r'title="[^"]*"', f'title="sub-N{number}"', row) for number in range(450)]
    rows = (re.sub(r'"right">6<', f'"right">{number}<', one) for number, one in enumerate(named))
    page = tmp_path / "index.html"
    page.write_text(before + "".join(rows) + after, encoding="utf-8")
    seen = "[...document.querySelectorAll('#patients tbody tr')].filter((row) => row.offsetHeight)"
    with devtools.opened(chromium, page.as_uri()) as tab:
        assert tab.evaluate(f"[{seen}.length, document.querySelector('.more').textContent]") == [200, "Show all 455"]
        assert tab.evaluate(f"{SEARCH}'sub-n449'; {TYPED}; {seen}.length") == 1
        assert tab.evaluate("document.querySelector('.more').hidden")
        assert tab.evaluate(f"{SEARCH}''; {TYPED}; {seen}.length") == 200
        visits = "document.querySelectorAll('#patients thead button')[2].click()"
        assert tab.evaluate(f"{visits}; {visits}; {seen}[0].cells[2].textContent") == "449"
        assert tab.evaluate(f"document.querySelector('.more').click(); {seen}.length") == 455


SEARCH = "document.getElementById('search').value = "
TYPED = "document.getElementById('search').dispatchEvent(new Event('input'))"


@pytest.mark.parametrize("name", ["index", "model", "changed", "mixed", "stable"])
def test_no_page_is_wider_than_a_phone(written: Inputs, name: str) -> None:
    page = written.reports / f"{name}.html" if name in ("index", "model") else patient(written, name)
    script = """
    const frame = document.body;
    frame.style.width = '360px';
    frame.dataset.wide = [...document.querySelectorAll('main > section > *')]
      .filter((part) => part.getBoundingClientRect().right > 362).length;
    """
    assert 'data-wide="0"' in browser.visit(page, script).document
