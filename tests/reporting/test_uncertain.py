"""A pair in which not even a large change would have been seen: no page, table or chart shows it as unchanged."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from siamese_med.reporting.charts.marks import MARK_SHAPES
from siamese_med.reporting.data.verdicts import STATUSES
from siamese_med.reporting.render.pages import PAGE_TEMPLATE_FOLDER
from siamese_med.reporting.write import markdown_summary
from tests.reporting import figures
from tests.reporting.conftest import Inputs, build, pseudonym, several_contrasts
from tests.reporting.test_pages import Reader

SENTENCE = (
    "in this pair even a change of 8 ml might have been missed, so its figures do not say that nothing changed. Look"
)


@pytest.fixture(scope="module")
def doubted(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A patient whose newest visit is uncertain against the one before; one who changed; one who cannot be compared."""
    inputs = build(tmp_path_factory.mktemp("doubted")).only("stable", "changed", "unlike")
    scores = inputs.scores
    newest = scores.scan_b.eq(f"{pseudonym('stable')}_ses-3_FLAIR") & scores.scan_a.str.contains("ses-2")
    assert newest.sum() == 1
    scores.loc[newest, ["verdict", "smallest_detectable_ml"]] = ["uncertain", float("nan")]
    inputs.write()
    return inputs


def source(doubted: Inputs, name: str = "stable") -> str:
    path = "index.html" if name == "index" else f"{pseudonym(name)}/report.html"
    return (doubted.reports / path).read_text(encoding="utf-8")


def report(doubted: Inputs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((doubted.reports / pseudonym("stable") / "report.json").read_text("utf-8"))
    return found


def section(page: str, start: str) -> str:
    return page[page.index(start) :].partition("</section>")[0]


def test_the_first_line_is_not_green_and_says_what_to_do(doubted: Inputs) -> None:
    first = section(source(doubted), '<section class="verdict')
    assert first.startswith('<section class="verdict uncertain">')
    assert '<svg class="icon uncertain question"' in first
    assert "no_change" not in first
    text = " ".join(Reader(first).text.split())
    assert "Too uncertain to tell in FLAIR" in text
    assert "even a change of 8 ml might have been missed. Look at the images yourself." in text
    assert "Might be missed even 8 ml planted changes of that size were not found" in text


def test_the_pair_says_it_again_in_its_section_and_in_its_row(doubted: Inputs) -> None:
    page = source(doubted)
    pair = section(page, 'id="pair-1"')
    assert '<span class="badge uncertain">' in pair
    assert "no_change" not in pair
    assert SENTENCE in Reader(pair).text
    assert SENTENCE not in Reader(section(page, 'id="pair-2"')).text
    (row,) = re.findall(r"<tr>.*?#pair-1.*?</tr>", page)
    assert '<span class="badge uncertain">' in row
    assert '<td class="right">–</td>' in row, "no volume of a change that could not have been found"
    assert "Volume not known" in " ".join(Reader(pair).text.split())


def test_the_time_line_and_the_strip_mark_it_by_its_shape(doubted: Inputs) -> None:
    page = source(doubted)
    assert 'class="mark question uncertain"' in section(page, 'aria-label="Time line of')
    assert "0 of 3 pairs changed, 1 too uncertain to tell; figures" in page
    assert 'class="needle uncertain"' in section(page, 'id="pair-1"')
    assert "too uncertain to tell" not in source(doubted, "changed").partition('aria-label="Time line of')[2][:200]
    assert STATUSES["uncertain"].label in re.findall(r'<p class="key">.*?</p>', source(doubted, "changed"))[0]


def test_the_index_lists_it_after_what_changed_and_before_what_cannot_be_compared(doubted: Inputs) -> None:
    page = source(doubted, "index")
    assert re.findall(r'<tr data-status="([\w ]+)">', page) == ["changed", "uncertain", "not_comparable"]
    assert '<button type="button" class="chip uncertain" data-status="uncertain" aria-pressed="false"><svg' in page
    assert STATUSES["uncertain"].rank < STATUSES["no_change"].rank
    with (doubted.reports / "cohort.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["subject"]: row for row in csv.DictReader(file, dialect="excel-tab")}
    row = rows[pseudonym("stable")]
    assert [row[name] for name in ("status", "contrasts", "uncertain", "unchanged")] == [
        "uncertain",
        "FLAIR",
        *["n/a"] * 2,
    ]


def test_the_files_say_it_and_keep_to_their_schema(doubted: Inputs) -> None:
    found = report(doubted)
    assert [pair["verdict"] for pair in found["pairs"]] == ["uncertain", "no_change", "no_change"]
    assert found["pairs"][0]["smallest_detectable_ml"] is None
    assert found["headline"]["status"] == found["lines"][0]["status"] == "uncertain"
    for kind, value in (
        ("report", found),
        ("cohort", json.loads((doubted.reports / "cohort.json").read_text("utf-8"))),
    ):
        schema = json.loads((doubted.reports / f"{kind}.schema.json").read_text(encoding="utf-8"))
        Draft202012Validator(schema).validate(value)
    meaning = json.loads((doubted.reports / "pairs.json").read_text(encoding="utf-8"))["verdict"]["Description"]
    assert "uncertain" in meaning
    assert figures.of_patient(source(doubted), found) == []


def test_the_summary_of_a_run_counts_it_and_asks_for_a_look(doubted: Inputs) -> None:
    text = markdown_summary.render_run_summary(doubted.scores, doubted.account, doubted.reports / "index.html")
    assert "1 too uncertain to tell, " in text
    assert f"| {pseudonym('stable')[:12]}… | Too uncertain to tell in FLAIR |" in text


def test_beside_a_change_an_uncertain_contrast_is_named_and_not_as_unchanged(tmp_path: Path) -> None:
    inputs = build(tmp_path, fill=several_contrasts).only("several")
    inputs.scores.loc[inputs.scores.scan_b.str.endswith("ses-3_T1w"), "verdict"] = "uncertain"
    inputs.write()
    for name in ("index.html", f"{pseudonym('several')}/report.html"):
        page = (inputs.reports / name).read_text(encoding="utf-8")
        text = " ".join(Reader(page).text.split()).replace(" ;", ";")
        assert "in FLAIR; too uncertain to tell in T1; not compared: contrast-enhanced T1, T2" in text
        assert "no change in T1" not in text
    assert re.findall(r'<div class="figure (\w+)"><dt>T1</dt><dd>Too uncertain<', page) == ["uncertain"]


def test_no_two_verdicts_have_the_same_shape() -> None:
    shapes = [MARK_SHAPES[status.shape] for status in STATUSES.values()]
    assert len(set(shapes)) == len(STATUSES)


def contrast_ratio(one: str, other: str) -> float:
    """Of two colours (#rgb or #rrggbb), by WCAG 2.2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_its_colour_is_its_own_and_can_be_read_in_light_in_dark_and_on_paper() -> None:
    style = (PAGE_TEMPLATE_FOLDER / "page.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(schemes) == 3
    assert contrast_ratio("#fff", "#000") == pytest.approx(21)
    for scheme in schemes:
        tones = {scheme[name] for name in ("changed", "same", "unclear", "wrong")}
        assert scheme["doubt"] not in tones
        for ground in {"card", "page", "doubt-soft"} & scheme.keys():
            assert contrast_ratio(scheme["doubt"], scheme[ground]) >= 4.5
    drawing = (PAGE_TEMPLATE_FOLDER / "drawing.css").read_text(encoding="utf-8")
    assert f".uncertain.mark, .icon.uncertain path {{ fill: {schemes[2]['doubt']};" in drawing


def test_no_table_has_a_dash_where_not_even_the_largest_change_would_have_been_seen(doubted: Inputs) -> None:
    """A dash said the same of a pair that was too noisy and of one that was not compared."""
    pages = [source(doubted), source(doubted, "index")]
    rows = [row for page in pages for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if "Too uncertain" in row]
    assert len(rows) == 2
    for row in rows:
        assert re.findall(r'<td class="right nobreak" data-value="8(?:\.0)?">([^<]*)</td>', row) == ["&gt; 8"], row
    unlike = [row for row in re.findall(r"<tr.*?</tr>", pages[1], re.DOTALL) if "Not comparable" in row]
    assert unlike
    assert all("&gt; 8" not in row for row in unlike)
    changed = doubted.scores.verdict.eq("changed").to_numpy().nonzero()[0]
    assert len(changed)


def test_a_changed_pair_that_might_hide_more_says_so_in_its_figures_too(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("changed")
    inputs.scores["smallest_detectable_ml"] = float("nan")
    inputs.write()
    page = source(inputs, "changed")
    figures_of_pairs = re.findall(r"<dt>Detectable</dt><dd[^>]*>(.*?)</dd>", page, re.DOTALL)
    assert figures_of_pairs
    assert all("not even" in one for one in figures_of_pairs)


def test_the_model_page_does_not_send_its_reader_to_itself(doubted: Inputs) -> None:
    text = (doubted.reports / "model.html").read_text(encoding="utf-8")
    assert "see the model page" not in text
    assert "Might be missed" not in text
