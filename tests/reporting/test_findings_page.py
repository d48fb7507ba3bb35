"""The findings of a patient over all dates, on the page and in report.json, each under its number."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siamese_med.reporting.data.report_content import PatientReport
from tests.reporting.conftest import COMPONENTS, Inputs, build, pseudonym
from tests.reporting.test_pages import Reader


def set_findings(inputs: Inputs, found: dict[tuple[int, int], list[int | None]]) -> None:
    """Give the pairs of two visits parts with these numbers; the others get none."""
    cells = []
    for row in inputs.scores.to_dict("records"):
        visits = tuple(int(str(row[side]).split("_ses-")[1].split("_")[0]) for side in ("scan_a", "scan_b"))
        cells.append([{**COMPONENTS[0], "finding": number} for number in found.get(visits, [])])  # type: ignore[call-overload]
    inputs.scores["components"] = cells


def write(folder: Path, found: dict[tuple[int, int], list[int | None]], visits: int = 6) -> tuple[str, Any]:
    """Write the page of a patient with some first visits, whose pairs have all changed."""
    inputs = build(folder).only("changed")
    inputs.scans = inputs.scans[[int(session[4:]) <= visits for session in inputs.scans.session]]
    inputs.scores = inputs.scores[inputs.scores.scan_b.isin(inputs.scans.id)].assign(verdict="changed")
    set_findings(inputs, found)
    inputs.write()
    place = inputs.reports / pseudonym("changed")
    return (place / "report.html").read_text("utf-8"), json.loads((place / "report.json").read_text("utf-8"))


def section(page: str) -> str:
    return page[page.index("<h2>Findings over time") :].partition("</section>")[0]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    return write(
        tmp_path_factory.mktemp("findings"),
        {(1, 2): [1, 4], (2, 3): [1], (5, 6): [7, 7, None], (1, 6): [1]},
    )


def test_what_changed_last_comes_first_and_steps_are_in_the_order_of_time(written: tuple[str, Any]) -> None:
    (line,) = written[1]["findings"]
    numbers = {pair["number"]: (pair["earlier_session"], pair["later_session"]) for pair in written[1]["pairs"]}
    assert [numbers[one] for one in line["steps"]] == [(f"ses-{n}", f"ses-{n + 1}") for n in range(1, 6)]
    assert numbers[line["since_first"]] == ("ses-1", "ses-6")
    assert [finding["number"] for finding in line["findings"]] == [1, 7, 4]
    rows = section(written[0]).partition("<tbody>")[2].split("<tr>")[1:]
    assert [" ".join(Reader(row).text.split()).split()[0] for row in rows] == ["1", "7", "4"]


def test_the_parts_of_a_finding_are_counted_together_and_lead_to_their_slice(written: tuple[str, Any]) -> None:
    (line,) = written[1]["findings"]
    by_number = {finding["number"]: finding["marks"] for finding in line["findings"]}
    assert [(mark["volume_ml"], mark["parts"]) for mark in by_number[7]] == [(2.4, [1, 2])]
    assert [mark["pair"] for mark in by_number[1]] == [line["steps"][0], line["steps"][1], line["since_first"]]
    assert "2.40 <small" in section(written[0])


def test_a_finding_that_only_pairs_over_several_visits_show_is_in_the_table(tmp_path: Path) -> None:
    page, report = write(tmp_path, {(5, 6): [1], (2, 6): [2, 1]})
    (line,) = report["findings"]
    (number,) = line["others"]
    assert report["pairs"][number - 1]["earlier_session"] == "ses-2"
    assert [finding["number"] for finding in line["findings"]] == [1, 2]
    row = " ".join(Reader(section(page).partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[2]).text.split())
    assert row == "2 – – – – – – ses-2 to ses-6: new 1.20"


def test_two_visits_have_no_table_and_parts_have_their_number(tmp_path: Path) -> None:
    page, report = write(tmp_path, {(1, 2): [3]}, visits=2)
    assert report["findings"] == []
    assert "Findings over time" not in page
    assert '<td class="right">3</td>' in page


def test_a_scan_that_may_be_another_persons_has_no_findings(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    set_findings(inputs, {(1, 2): [1], (2, 3): [1]})
    inputs.write()
    report = json.loads((inputs.reports / pseudonym("stable") / "report.json").read_text("utf-8"))
    assert report["findings"] == [], "its pairs have not changed"


def test_a_finding_says_which_other_contrasts_show_it_between_the_same_visits() -> None:
    def pair(contrast: str, later: str, finding: int, kind: str = "new", status: str = "changed") -> SimpleNamespace:
        part = SimpleNamespace(finding=finding, kind=kind)
        score = SimpleNamespace(components=(part,))
        return SimpleNamespace(
            contrast=contrast, earlier_session="ses-1", later_session=later, unlike=False, status=status, score=score
        )

    flair = pair("FLAIR", "ses-2", 3)
    others = [pair("T2", "ses-2", 3), pair("T1", "ses-2", 4), pair("PD", "ses-2", 3, "may_be_chance"),
              pair("STIR", "ses-3", 3), pair("DWI", "ses-2", 3, status="uncertain")]  # fmt: skip
    report = SimpleNamespace(pairs=(flair, *others))
    assert PatientReport.list_confirming_contrasts(report, flair, 3) == ("T2",)  # type: ignore[arg-type]
    assert PatientReport.list_confirming_contrasts(report, flair, None) == ()  # type: ignore[arg-type]


def test_parts_of_one_finding_that_are_brighter_and_darker_are_to_be_judged_together(tmp_path: Path) -> None:
    def written_with(name: str, signs: tuple[int, int]) -> tuple[str, str]:
        inputs = build(tmp_path / name).only("changed")
        inputs.scores = inputs.scores.assign(verdict="changed")
        parts = [{**COMPONENTS[0], "finding": 3, "sign": sign} for sign in signs]
        inputs.scores["components"] = [parts for _ in range(len(inputs.scores))]
        inputs.write()
        place = inputs.reports / pseudonym("changed")
        page = " ".join(Reader((place / "report.html").read_text("utf-8")).text.split())
        return page, " ".join((place / "report.txt").read_text("utf-8").split())

    page, text = written_with("both", (1, -1))
    assert "Parts 1 and 2 lie beside each other; some became brighter, some darker." in page
    assert "brighter and darker parts lie beside each other in FLAIR" in text.replace("Brighter", "brighter")
    page, text = written_with("one", (1, 1))
    assert "lie beside each other" not in page + text


def test_figures_of_identity_are_folded_unless_the_patient_is_in_doubt(tmp_path: Path) -> None:
    for name, folded in (("changed", True), ("mixed", False)):
        inputs = build(tmp_path / name)
        inputs.write()
        page = (inputs.reports / pseudonym(name) / "report.html").read_text("utf-8")
        assert ('<details class="same"><summary>Are both scans of one person?' in page) == folded
