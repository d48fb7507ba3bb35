"""The lesions of a patient on the page, in report.json and in lesions.tsv: what is new or grew comes first."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from siamese_med.reporting.charts.lesion_load import draw_lesion_load
from siamese_med.reporting.data.lesion_lines import build_lesion_lines
from siamese_med.reporting.data.patient_visits import build_visits
from siamese_med.reporting.data.report_content import ReportVisit
from siamese_med.study.config import ReportConfig
from siamese_med.study.lesion import LesionState
from tests.reporting.conftest import Inputs, build, pseudonym
from tests.reporting.test_pages import Reader

SUBJECT = pseudonym("stable")


def state(visit: int, lesion: int | None, fate: str, volume: float | None, since: str, **more: Any) -> LesionState:
    return LesionState(
        subject=SUBJECT,
        contrast="FLAIR",
        scan=f"{SUBJECT}_ses-{visit}_FLAIR",
        session=f"ses-{visit}",
        lesion=lesion,
        fate=fate,
        fate_since_first=since,
        volume_ml=volume,
        error_ml=None if volume is None else 0.1 * volume,
        centre_mm=() if volume is None else (11.2, -24.0, 30.0),
        **more,
    )


LESIONS = (
    *(state(visit, 1, "first" if visit == 1 else "stable", 0.5, "stable") for visit in (1, 2)),
    *(state(1, 2, "first", 1.0, "enlarging"), state(2, 2, "enlarging", 2.0, "enlarging")),
    *(state(1, 3, "first", 0.05, "vanished"), state(2, 3, "vanished", None, "vanished")),
    *(state(1, 4, "first", 0.2, "merged"), state(2, 4, "merged", None, "merged", other=2)),
    state(2, 5, "new", 0.08, "new"),
    state(1, None, "total", 1.76, "unknown"),
    state(2, None, "total", 2.58, "unknown"),
    state(3, None, "unplaced", None, "unknown"),
)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A patient with lesions on two of three dates, and one without masks."""
    inputs = build(tmp_path_factory.mktemp("lesions")).only("stable", "changed")
    inputs.lesions = LESIONS
    inputs.write()
    return inputs


def section(inputs: Inputs, name: str = "stable") -> str:
    page = (inputs.reports / pseudonym(name) / "report.html").read_text(encoding="utf-8")
    return page.partition("<h2>Lesions over time")[2].partition("</section>")[0]


def test_the_table_has_every_lesion_and_the_largest_change_of_volume_comes_first(marked: Inputs) -> None:
    rows = section(marked).partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    words = [" ".join(Reader(row).text.split()) for row in rows]
    assert [row.split()[:2] for row in words] == [
        ["2", "enlarging"], ["5", "new"], ["3", "vanished"], ["4", "merged"], ["1", "stable"],
    ]  # fmt: skip
    assert "2.00 ± 0.20 enlarging" in words[0]
    assert "merged into 2" in words[3]
    assert "0.080 ± 0.008 new" in words[1]
    assert "not shown" not in words[1], "before a lesion is new it is not there"


def test_the_last_line_is_the_load_of_every_date_and_its_error(marked: Inputs) -> None:
    load = " ".join(Reader(section(marked).partition("<tfoot>")[2].partition("</tfoot>")[0]).text.split())
    assert "1.76 ± 0.18 4 lesions" in load
    assert "2.58 ± 0.26 3 lesions" in load


def test_the_verdict_card_has_the_load_of_the_first_and_the_newest_date(marked: Inputs) -> None:
    page = (marked.reports / SUBJECT / "report.html").read_text(encoding="utf-8")
    card = " ".join(Reader(page.partition('<section class="verdict')[2].partition("</section>")[0]).text.split())
    assert (
        "Marked lesions in FLAIR: 1.76 ± 0.18 ml at ses-1, 2.58 ± 0.26 ml at ses-2: +47 %, beyond the error of" in card
    )


def test_a_lesion_that_a_scan_does_not_reach_is_not_said_to_be_gone(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    known = [state(1, 1, "first", 0.5, "stable"), state(3, 1, "stable", 0.5, "stable")]
    inputs.lesions = (*known, *(state(visit, None, "total", 0.5, "unknown") for visit in (1, 2, 3)))
    inputs.write()
    row = " ".join(Reader(section(inputs).partition("<tbody>")[2].partition("</tbody>")[0]).text.split())
    assert "0.50 ± 0.05 not shown 0.50 ± 0.05" in row
    assert "not_shown" not in (inputs.reports / SUBJECT / "lesions.tsv").read_text("utf-8")


def test_before_its_first_mark_a_lesion_is_not_shown_or_not_there(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    hidden = (state(1, 1, "not_shown", None, "first"), state(2, 1, "first", 0.5, "first"))
    known = (state(1, 2, "not_shown", None, "new"), state(3, 2, "new", 0.5, "new"))
    inputs.lesions = (*hidden, *known, *(state(visit, None, "total", 0.5, "unknown") for visit in (1, 2, 3)))
    inputs.write()
    rows = section(inputs).partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    new, first = (" ".join(Reader(row).text.split()) for row in rows)
    assert "first not shown 0.50 ± 0.05 not shown" in first
    assert "new not shown – 0.50 ± 0.05" in new


SLABS = (
    *(state(visit, 1, "first" if visit == 1 else "stable", 0.5, "stable") for visit in (1, 2, 3)),
    *(state(1, 2, "first", 1.0, "first"), state(2, 2, "not_shown", None, "first")),
    state(3, 2, "not_shown", None, "first"),
    *(state(visit, None, "total", volume, "unknown") for visit, volume in ((1, 1.5), (2, 0.5), (3, 0.5))),
)
"""A whole head, then slabs in which one of two lesions lies: nothing has changed."""


def test_volumes_of_scans_that_show_other_lesions_are_not_compared(tmp_path: Path) -> None:
    inputs = build(tmp_path, ReportConfig(response="rano")).only("stable")
    inputs.lesions = SLABS
    inputs.write()
    report = json.loads((inputs.reports / SUBJECT / "report.json").read_text("utf-8"))
    (line,) = report["lesions"]
    assert (line["change_percent"], line["beyond_error"]) == (None, None)
    assert [load["not_shown"] for load in line["loads"]] == [0, 1, 1]
    assert [load["response"] and load["response"]["category"] for load in line["loads"]] == [
        None, "not evaluable", "not evaluable",
    ]  # fmt: skip
    text = (inputs.reports / SUBJECT / "report.txt").read_text("utf-8")
    assert "which cannot be compared: 1 of 2 lesions lies outside the scan of ses-3;" in " ".join(text.split())
    page = " ".join(Reader((inputs.reports / SUBJECT / "report.html").read_text("utf-8")).text.split())
    assert "These volumes cannot be compared: 1 of 2 lesions lies outside the scan of ses-3." in page
    assert "not evaluable" in section(inputs)
    assert "1 lesion, 1 not shown" in page
    (shown,) = build_lesion_lines(SLABS, build_visits_of(inputs))
    assert str(draw_lesion_load(shown)).count("<polyline") == 2, "no line from the whole head to the slab"


def build_visits_of(inputs: Inputs) -> tuple[ReportVisit, ...]:
    return build_visits(inputs.scans[inputs.scans.subject == SUBJECT].to_dict("records"), {})


def test_slabs_that_show_the_same_lesions_are_compared(marked: Inputs) -> None:
    slabs = [one for one in SLABS if one.session != "ses-1"]
    (line,) = build_lesion_lines(slabs, build_visits_of(marked))
    assert (line.uncovered, line.change_percent) == ("", 0.0)


def test_a_scan_that_was_left_out_is_named(marked: Inputs) -> None:
    assert "Left out: ses-3." in Reader(section(marked)).text


def test_another_mask_of_a_visit_is_named_and_is_no_date(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    twin = state(2, None, "repeat", 9.0, "unknown")
    (row,) = inputs.scans[inputs.scans.id == twin.scan].to_dict("records")
    row["id"] = twin.scan.replace("_FLAIR", "_run-2_FLAIR")
    inputs.scans = pd.concat([inputs.scans, pd.DataFrame([row])])
    inputs.lesions = (*LESIONS, replace(twin, scan=row["id"]))
    inputs.write()
    assert f"Not followed: {row['id']} (9.00 ± 0.90 ml at ses-2)." in Reader(section(inputs)).text
    (line,) = json.loads((inputs.reports / SUBJECT / "report.json").read_text("utf-8"))["lesions"]
    assert len(line["loads"]) == 2
    text = " ".join((inputs.reports / SUBJECT / "report.txt").read_text("utf-8").split())
    assert "in FLAIR another mask of ses-2 is not followed" in text


def test_percent_a_year_is_at_a_constant_rate(marked: Inputs, tmp_path: Path) -> None:
    grown = build(tmp_path).only("stable")
    known = [state(1, 1, "first", 0.5, "enlarging"), state(3, 1, "enlarging", 1.0, "enlarging")]
    grown.lesions = (*known, *(state(visit, None, "total", 0.5, "unknown") for visit in (1, 3)))
    grown.write()
    (line,) = json.loads((grown.reports / SUBJECT / "report.json").read_text("utf-8"))["lesions"]
    days = [load["day"] for load in line["loads"]]
    years = (days[1] - days[0]) / 365.25
    assert line["lesions"][0]["percent_a_year"] == pytest.approx(100 * (2 ** (1 / years) - 1), abs=0.1)
    (line,) = json.loads((marked.reports / SUBJECT / "report.json").read_text("utf-8"))["lesions"]
    by_number = {lesion["number"]: lesion for lesion in line["lesions"]}
    assert by_number[2]["percent_a_year"] is None, "it took in another lesion"
    assert (by_number[1]["fate"], by_number[1]["percent_a_year"]) == ("stable", None), "no rate within the error"
    assert by_number[5]["percent_a_year"] is None, "one mark tells no rate"


def test_less_than_ninety_days_give_no_rate(marked: Inputs) -> None:
    rows = marked.scans[marked.scans.subject == SUBJECT].to_dict("records")
    for row, day in zip(rows, ("2031-01-01", "2031-03-01", "2031-05-01"), strict=True):
        row["date"] = day
    (line,) = build_lesion_lines(LESIONS, build_visits(rows, {}))
    assert {lesion.percent_a_year for lesion in line.lesions} == {None}


def test_the_json_is_as_its_schema_says_and_a_patient_without_masks_has_none(marked: Inputs) -> None:
    schema = json.loads((marked.reports / "report.schema.json").read_text("utf-8"))
    for name in ("stable", "changed"):
        report = json.loads((marked.reports / pseudonym(name) / "report.json").read_text("utf-8"))
        Draft202012Validator(schema).validate(report)
        assert bool(report["lesions"]) == (name == "stable")
    assert not section(marked, "changed")
    assert not (marked.reports / pseudonym("changed") / "lesions.tsv").exists()


def test_the_tsv_has_one_line_a_lesion_and_scan(marked: Inputs) -> None:
    text = (marked.reports / SUBJECT / "lesions.tsv").read_text("utf-8")
    lines = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    assert len(lines) == sum(one.lesion is not None for one in LESIONS)
    assert {line["volume_ml"] for line in lines if line["fate"] in ("vanished", "merged")} == {"n/a"}


def test_the_file_goes_with_the_masks(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.lesions = LESIONS
    inputs.write()
    assert (inputs.reports / SUBJECT / "lesions.tsv").is_file()
    inputs.lesions = ()
    inputs.write()
    assert not (inputs.reports / SUBJECT / "lesions.tsv").exists()


def write_slices(inputs: Inputs, numbers: tuple[int, ...]) -> None:
    """Slices of these lesions on two dates, as scoring keeps them; nothing is marked on the first one."""
    rows = [(number, visit) for number in numbers for visit in (1, 2)]
    marked = np.zeros((len(rows), 96, 96), dtype=bool)
    marked[1::2, 40:50, 40:52] = True
    (inputs.data / "lesions").mkdir(exist_ok=True)
    np.savez_compressed(
        inputs.data / "lesions" / f"{SUBJECT}.npz",
        slices=np.random.default_rng(0).integers(0, 255, marked.shape, dtype=np.uint8),
        marked=marked,
        lesion=np.array([number for number, _ in rows]),
        scan=np.array([f"{SUBJECT}_ses-{visit}_FLAIR" for _, visit in rows]),
        spacing_mm=np.full(len(rows), 0.7),
    )


def test_a_lesion_leads_to_its_picture_on_every_date(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.lesions = tuple(
        replace(one, region="left cerebellum") if one.lesion == 2 and one.volume_ml else one for one in LESIONS
    )
    write_slices(inputs, (2, 5))
    inputs.write()
    page = section(inputs)
    assert page.count('<a href="#lesion-') == 2
    picture = page.partition('id="lesion-2"')[2].partition('<div class="row"')[0]
    assert picture.count("<image") == 2
    assert picture.count('class="outline"') == 1, "on the first date nothing is marked"
    words = " ".join(Reader(picture).text.split())
    assert "enlarging left cerebellum ses-1 · 1.00 ml ses-2 · 2.00 ml" in words
    report = json.loads((inputs.reports / SUBJECT / "report.json").read_text("utf-8"))
    regions = {lesion["number"]: lesion["marks"][-1]["region"] for lesion in report["lesions"][0]["lesions"]}
    assert regions[2] == "left cerebellum"
    assert regions[1] is None
    write_slices(inputs, (2,))
    inputs.write()
    assert section(inputs).count('<a href="#lesion-') == 1, "the page follows its slices"


def test_pictures_of_lesions_leave_the_page_small(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.lesions = tuple(state(visit, n, "first", 1.0, "stable") for n in range(1, 40) for visit in (1, 2))
    inputs.lesions = (*inputs.lesions, *(state(visit, None, "total", 39.0, "unknown") for visit in (1, 2)))
    write_slices(inputs, tuple(range(1, 40)))
    inputs.write()
    page = (inputs.reports / SUBJECT / "report.html").read_bytes()
    assert b'id="lesion-1"' in page
    assert b'id="lesion-30"' not in page
    assert len(page) < 500_000
