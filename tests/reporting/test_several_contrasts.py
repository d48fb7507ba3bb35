"""Pages of patients with several contrasts: every row, caption, chart and file says which one."""

from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from siamese_med.reporting import formatting
from siamese_med.reporting.data.contrast_agent import suspect_contrast_agent
from siamese_med.study.component import Component
from tests.reporting import figures
from tests.reporting.conftest import Inputs, pseudonym
from tests.reporting.test_pages import Reader

PATIENTS = ("several", "partly", "nothing", "unknown")


def source(several: Inputs, name: str) -> str:
    path = "index.html" if name == "index" else f"{pseudonym(name)}/report.html"
    return (several.reports / path).read_text(encoding="utf-8")


def text(several: Inputs, name: str) -> str:
    return " ".join(Reader(source(several, name)).text.split())


def report(several: Inputs, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((several.reports / pseudonym(name) / "report.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("several", "Changed in FLAIR ; no change in T1 ; not compared: contrast-enhanced T1, T2"),
        ("partly", "No change beyond a rescan in T1 ; not compared: FLAIR"),
        ("nothing", "Not comparable ses-2 cannot be compared with a visit before it"),
        ("unknown", "No change beyond a rescan in scans of unknown contrast"),
    ],
)
def test_the_first_line_names_the_contrasts(several: Inputs, name: str, verdict: str) -> None:
    assert verdict.replace(" ;", ";") in text(several, name).replace(" ;", ";")


def test_every_row_has_its_contrast_and_no_two_rows_are_called_the_same(several: Inputs) -> None:
    rows = re.findall(
        r'<tr><td class="right">\d+</td><td class="nobreak"><a href="([^"]+)">([^<]+)</a></td>.*?</td><td>([^<]+)</td>',
        source(several, "several"),
    )
    assert len(rows) == len({(contrast, between) for _, between, contrast in rows}) == 7
    assert {contrast for *_, contrast in rows} == {"T1", "contrast-enhanced T1", "FLAIR"}
    links = {link: contrast for link, _, contrast in rows}
    assert sorted(link for link in links if link.endswith(".html")) == ["pair-6.html", "pair-7.html"]
    for link in ("pair-6.html", "pair-7.html"):
        step = (several.reports / pseudonym("several") / link).read_text(encoding="utf-8")
        assert f">{links[link]}, ses-1 to ses-2</h2>" in step


def test_headings_and_captions_of_the_slices_name_the_contrast(several: Inputs) -> None:
    page = source(several, "several")
    titles = re.findall(r'<h2 id="title-\d">([^<]+)</h2>', page)
    assert titles == [
        "FLAIR, ses-2 to ses-3",
        "Contrast-enhanced T1, ses-2 to ses-3",
        "T1, ses-2 to ses-3",
        "FLAIR, ses-1 to ses-3",
        "T1, ses-1 to ses-3",
    ]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions
    assert all(re.search(r"FLAIR|T1", caption) for caption in captions)
    labels = re.findall(r'role="img" aria-label="([^"]* at [^"]*)"', page)
    assert len(labels) == page.count("<figure>") > 40
    assert all(re.search(r"FLAIR|T1", label) for label in labels)


def test_there_is_a_time_line_for_each_contrast_that_was_measured(several: Inputs) -> None:
    labels = re.findall(r'aria-label="Time line of ([^;"]+)', source(several, "several"))
    assert labels == ["T1, 3 visits", "FLAIR, 3 visits"]
    assert "Change was not measured in contrast-enhanced T1." in text(several, "several")
    assert "No two visits have a scan of one contrast." in text(several, "nothing")


def test_pairs_of_different_contrasts_are_counted_and_not_listed(several: Inputs) -> None:
    page = text(several, "nothing")
    assert "2 pairs of different contrasts are not compared." in page
    assert '<table class="sortable">' not in source(several, "nothing")
    assert "T1 (scanned at ses-1 only)" in page
    assert len(report(several, "nothing")["pairs"]) == 2  # they stay in the data


def test_a_similarity_that_was_not_measured_is_said_to_be_so_everywhere(several: Inputs) -> None:
    page = text(several, "several")
    assert page.count("not measured a scan could not be placed on the template") == 2  # verdict and section
    (pair,) = [pair for pair in report(several, "several")["pairs"] if pair["later_contrast"] == "T1wCE"]
    assert pair["similarity"] is None
    with (several.reports / pseudonym("several") / "pairs.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    assert [row["similarity"] == "n/a" for row in rows] == [row["later_contrast"] == "T1wCE" for row in rows]


def test_the_index_names_the_contrast_of_every_row(several: Inputs) -> None:
    with (several.reports / "cohort.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["subject"]: row for row in csv.DictReader(file, dialect="excel-tab")}
    found = {
        name: tuple(rows[pseudonym(name)][key] for key in ("contrasts", "unchanged", "contrast")) for name in PATIENTS
    }
    assert found == {
        "several": ("FLAIR", "T1", "FLAIR"),
        "partly": ("T1", "n/a", "T1"),
        "nothing": ("n/a", "n/a", "n/a"),
        "unknown": ("contrast not known", "n/a", "contrast not known"),
    }
    assert "in FLAIR; no change in T1" in text(several, "index").replace(" ;", ";")


@pytest.mark.parametrize("name", [*PATIENTS, "index"])
def test_no_page_says_unknown_unknown(several: Inputs, name: str) -> None:
    assert "unknown unknown" not in text(several, name)
    if name in ("index", "unknown"):
        assert "64 of unknown contrast, other scanner" in text(several, name)


@pytest.mark.parametrize("name", PATIENTS)
def test_every_number_is_in_the_json_and_the_json_keeps_to_its_schema(several: Inputs, name: str) -> None:
    found = report(several, name)
    assert figures.of_patient(source(several, name), found) == []
    schema = json.loads((several.reports / "report.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(found)


def test_a_contrast_that_the_image_told_is_said_to_be_so(study: Inputs) -> None:
    study.scans["contrast_source"], study.scans["contrast_confidence"] = "image", 0.83
    one = study.only("single")
    one.write()
    assert "MR FLAIR by the image, 0.83" in text(one, "single")


@pytest.mark.parametrize(
    ("contrast", "region", "sign", "told"),
    [
        ("T1", "right lateral ventricle", 1, True),
        ("T1", "fluid spaces", 1, True),
        ("T1", "right lateral ventricle", -1, False),
        ("T1", "left deep white matter", 1, False),
        ("T1", None, 1, False),
        ("contrast-enhanced T1", "right lateral ventricle", 1, False),
        ("FLAIR", "right lateral ventricle", 1, False),
    ],
)
def test_plain_scans_whose_fluid_became_brighter_raise_the_question_of_contrast_agent(
    contrast: str, region: str | None, sign: int, told: bool
) -> None:
    part = Component("new", 0.3, sign, 0.001, (), (1.0, 2.0, 3.0), region)
    pair = SimpleNamespace(
        contrast=contrast,
        status="changed",
        title=f"{contrast}, ses-1 to ses-2",
        score=SimpleNamespace(components=(part,)),
    )
    found = suspect_contrast_agent([pair])  # type: ignore[list-item]
    assert bool(found) == told
    if told:
        assert found[0].startswith("T1, ses-1 to ses-2: places that became brighter lie in the ventricles")
    pair.status = "no_change"
    assert suspect_contrast_agent([pair]) == []  # type: ignore[list-item]


@pytest.mark.parametrize(("signs", "told"), [((1, 1), True), ((1,), False), ((1, 1, -1), False), ((), False)])
def test_two_places_to_look_at_in_fluid_raise_it_too(signs: tuple[int, ...], told: bool) -> None:
    sure = Component("new", 1.8, 1, 0.001, (), (1.0, 2.0, 3.0), "left periventricular white matter")
    places = [Component("may_be_chance", 0.1, sign, 0.2, (), (1.0, 2.0, 3.0), "fluid spaces") for sign in signs]
    score = SimpleNamespace(components=(sure, *places))
    pair = SimpleNamespace(contrast="T1", status="changed", title="T1, ses-1 to ses-2", score=score)
    assert bool(suspect_contrast_agent([pair])) == told  # type: ignore[list-item]


def test_the_figures_of_an_index_row_are_those_of_the_pair_that_decides(several: Inputs) -> None:
    rows = {row["subject"]: row for row in json.loads((several.reports / "cohort.json").read_text("utf-8"))["rows"]}
    row, one = rows[pseudonym("several")], report(several, "several")
    newest = [line["lead"] for line in one["lines"] if line["lead"]]
    (lead,) = [pair for pair in one["pairs"] if pair["number"] in newest and pair["verdict"] == "changed"]
    others = [pair for pair in one["pairs"] if pair["number"] in newest and pair["verdict"] == "no_change"]
    assert others, "the test needs a contrast without change, whose figures must not stand beside the verdict"
    assert others[0]["change_z"] != lead["change_z"]
    for key in ("change_z", "change_p", "volume_ml", "beyond_rescan_ml", "smallest_detectable_ml", "interval_days"):
        assert row[key] == lead[key], key
    cells = " ".join(
        Reader(source(several, "index").partition(pseudonym("several"))[2].partition("</tr>")[0]).text.split()
    )
    assert f" {formatting.fixed(lead['change_z'], 1)} " in cells
    assert f" {formatting.fixed(lead['beyond_rescan_ml'] or lead['volume_ml'], 2)} " in cells


def test_dates_are_marked_as_shifted(several: Inputs) -> None:
    page = source(several, "several")
    dates = {visit["date"] for visit in report(several, "several")["visits"]}
    table = page.partition('id="quality"')[2].partition("</section>")[0]
    assert "Date (shifted)" in table
    assert dates
    assert all(date in table for date in dates)
    assert not any(date in page.replace(table, "") for date in dates), (
        "nowhere else, where nothing says that it is shifted"
    )
