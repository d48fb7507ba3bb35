"""Places to look at: on the page of every pair that was compared, apart from what has surely changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from siamese_med.reporting import formatting
from tests.reporting.conftest import COMPONENTS, build, pseudonym
from tests.reporting.test_pages import Reader

FAINT = {**COMPONENTS[1], "kind": "may_be_chance", "p": 0.6, "finding": None}


def test_parts_that_are_no_stronger_than_a_rescan_are_folded_and_keep_their_numbers(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.scores["components"] = [[FAINT, COMPONENTS[0]] if parts else [] for parts in inputs.scores["components"]]
    inputs.write()
    page = (inputs.reports / pseudonym("changed") / "report.html").read_text("utf-8")
    sure, _, rest = page.partition("<details><summary>Places to look at: 1")
    rows = [
        " ".join(Reader(text.rpartition("What changed: parts")[2] or text).text.split())
        for text in (sure, rest.partition("</details>")[0])
    ]
    assert "2 1 new 1.20 brighter" in rows[0]
    assert "may be chance" not in rows[0].partition("2 1 new")[2][:60]
    assert "1 0.30 darker" in rows[1]
    said = re.sub(r"\s+", " ", sure.partition('id="pair-')[2])
    shown = re.search(r"(\S+) ml of them are in parts that alone are beyond a rescan", said)
    assert shown
    assert shown[1] in [formatting.fixed(value) for value in inputs.scores["beyond_rescan_ml"] if value]


def test_places_that_most_rescans_have_are_counted_and_not_listed(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    weak = {**FAINT, "p": 0.64}
    inputs.scores["components"] = [[COMPONENTS[0], FAINT, weak] if one else [] for one in inputs.scores["components"]]
    inputs.write()
    page = (inputs.reports / pseudonym("changed") / "report.html").read_text("utf-8")
    assert "<summary>Places to look at: 1</summary>" in page, "of p 0.63 a pair without change has one on average"
    assert "Weaker places, of which a pair without change has more: 1." in page


def test_a_volume_without_weak_parts_needs_no_such_word(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.write()
    page = (inputs.reports / pseudonym("changed") / "report.html").read_text("utf-8")
    assert "over the map's threshold" in page
    assert "in this volume too" not in page


@pytest.mark.parametrize(("verdict", "opened"), [("uncertain", True), ("no_change", False), ("not_comparable", None)])
def test_a_pair_that_has_not_changed_has_them_too(tmp_path: Path, verdict: str, opened: bool | None) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.scores["verdict"] = verdict
    inputs.scores["components"] = [[FAINT, {**COMPONENTS[0], "finding": None}] for _ in inputs.scores["components"]]
    inputs.write()
    page = (inputs.reports / pseudonym("changed") / "report.html").read_text("utf-8")
    if opened is None:
        assert "Places to look at:" not in page
        return
    assert f"<details{' open' if opened else ''}><summary>Places to look at: 2</summary>" in page
    table = " ".join(
        Reader(page.partition("Places to look at: 2</summary>")[2].partition("</details>")[0]).text.split()
    )
    assert "a pair without change has at most 1 such place on average" in table
    assert "1 0.30 darker" in table
    assert "2 1.20 brighter" in table
    assert "new" not in table, "none of them is called a change"
    assert "What changed: parts" not in page
