"""Every page under axe-core in Chromium, in the light and in the dark colour scheme, as loaded and with all pressed.

axe-core comes from npm as one file: no package of PyPI has a recent one without a browser driver of its own.
"""

from __future__ import annotations

import base64
import hashlib
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from siamese_med.reporting.write import ingest_page
from tests.commands import ROOT
from tests.reporting import browser, devtools
from tests.reporting.conftest import Inputs, pseudonym
from tests.reporting.devtools import Chromium, Tab
from tests.reporting.inventories import MIXED

AXE = ROOT / ".cache" / "axe-core-4.14.1.tgz"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
PATIENTS = ("changed", "mixed", "unlike", "bare")
OPEN = "document.querySelectorAll('details').forEach((fold) => { fold.open = true; });"
PRESS = "document.querySelectorAll('.chip:not(:disabled), button.blink').forEach((button) => button.click());"
SEEN = """axe.run(%s).then((found) => found.violations.map(
  (rule) => [rule.id, rule.impact, rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]))"""
EVERYTHING, CONTRAST = "{}", "{runOnly: ['color-contrast']}"

WORDS_OF_PICTURES = """(() => {
  const level = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (part) => {
    for (let one = part.closest('svg').parentElement; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  return [...document.querySelectorAll('svg text')].map((part) => {
    const [high, low] = [level(getComputedStyle(part).fill), level(behind(part))].sort((a, b) => b - a);
    return [part.textContent, (high + 0.05) / (low + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
})()"""
"""Words in charts with less contrast than WCAG asks for: axe does not look at the fill of SVG text."""

pytestmark = [
    pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT),
    pytest.mark.skipif(not AXE.is_file(), reason=f"no axe: npm pack --pack-destination .cache {AXE.stem[:8]}@4.14.1"),
]


@cache
def axe() -> str:
    """The script, if the archive is the one that is meant."""
    packed = AXE.read_bytes()
    assert base64.b64encode(hashlib.sha512(packed).digest()).decode() == SHA512
    with tarfile.open(AXE) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script
        return script.read().decode()


def found(tab: Tab) -> dict[str, list[Any]]:
    """What axe and the check of charts find, under the state of the page in which they find it."""
    tab.evaluate(f"{axe()};{OPEN}")
    states = {"light": [*tab.evaluate(SEEN % EVERYTHING), *tab.evaluate(WORDS_OF_PICTURES)]}
    tab.prefer("dark")
    states["dark"] = [*tab.evaluate(SEEN % CONTRAST), *tab.evaluate(WORDS_OF_PICTURES)]
    tab.evaluate(PRESS)
    states["dark, pressed"] = tab.evaluate(SEEN % CONTRAST)
    tab.prefer("light")
    states["light, pressed"] = tab.evaluate(SEEN % CONTRAST)
    return {state: findings for state, findings in states.items() if findings}


@pytest.mark.parametrize("name", ["index", "model", "step", *PATIENTS])
def test_nothing_is_found_on_a_page(written: Inputs, chromium: Chromium, name: str) -> None:
    page = f"{pseudonym(name)}/report.html" if name in PATIENTS else f"{name}.html"
    page = f"{pseudonym('changed')}/pair-3.html" if name == "step" else page
    with devtools.opened(chromium, (written.reports / page).as_uri()) as tab:
        assert found(tab) == {}


@pytest.mark.long
def test_nothing_is_found_on_a_viewer(viewer_page: Path, chromium: Chromium) -> None:
    with devtools.opened(chromium, viewer_page.as_uri()) as tab:
        assert found(tab) == {}


def test_nothing_is_found_on_the_ingest_page(chromium: Chromium, tmp_path: Path) -> None:
    page = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", MIXED)
    with devtools.opened(chromium, page.as_uri()) as tab:
        assert found(tab) == {}


def test_what_is_broken_on_purpose_is_found(written: Inputs, chromium: Chromium, tmp_path: Path) -> None:
    text = (written.reports / pseudonym("stable") / "report.html").read_text(encoding="utf-8")
    dark_quiet, pressed = "--quiet: #a0a9b3", "background: #ffd64a; color: #000"
    assert dark_quiet in text
    assert pressed in text
    text = text.replace(dark_quiet, "--quiet: #3a4047").replace(pressed, "background: #ffd64a; color: #fff")
    more = "<h4>Too deep</h4><img src='data:,'><p style='color: #888; background: #999'>too faint</p>"
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace("</main>", f"{more}</main>"), encoding="utf-8")
    with devtools.opened(chromium, broken.as_uri(), lawless=True) as tab:
        states = found(tab)
    assert {rule for rule, *_ in states["light"]} == {"image-alt", "heading-order", "color-contrast"}
    rule, *words = states["dark"]
    assert rule[0] == "color-contrast"
    assert any("days" in word for word, _ in words)
    assert "blink" in str(states["light, pressed"])
    assert "blink" not in str(states["light"])
