"""The wrong-patient alarm: what both patients' pages, the index and the machine outputs say of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.reporting.data import side_by_side, wrong_patient_alarms
from siamese_med.reporting.data.report_content import WrongPatientAlarm
from siamese_med.study.tables import OWNER_COLUMNS
from tests.reporting.conftest import HOSTILE, Inputs, PageReader, pseudonym
from tests.reporting.test_pages import PATIENTS, Reader

SCANS = [
    {"id": f"sub-{name}_ses-{visit}", "subject": f"sub-{name}", "session": f"ses-{visit}"}
    for name in "ab"
    for visit in (1, 2)
]


def owner(scan: str, **fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys(OWNER_COLUMNS), "scan": scan, "subject": scan.split("_")[0], "alarm": True, **fields}


def one(**fields: Any) -> WrongPatientAlarm:
    (alarm,) = wrong_patient_alarms.list_wrong_patient_alarms([owner("sub-a_ses-1", **fields)], SCANS, 10_000)
    return alarm


def test_only_raised_alarms_of_known_scans_are_shown_the_plainest_first() -> None:
    rows = [
        owner("sub-a_ses-1", evidence=float("nan")),
        owner("sub-a_ses-2", evidence=-1.0),
        owner("sub-b_ses-1", evidence=-4.0),
        owner("sub-b_ses-2", evidence=-9.0, alarm=False),
        owner("sub-c_ses-1", evidence=-9.0),
    ]
    shown = wrong_patient_alarms.list_wrong_patient_alarms(rows, SCANS, 10_000)
    assert [(alarm.subject, alarm.session) for alarm in shown] == [
        ("sub-b", "ses-1"),
        ("sub-a", "ses-2"),
        ("sub-a", "ses-1"),
    ]


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (
            -0.5,
            "is weak: the images are about 3.2 times as likely in that case as otherwise (log10 likelihood ratio −0.5)",
        ),
        (-1.5, "is moderate: the images are about 32 times"),
        (-2.0, "is moderately strong: the images are about 100 times"),
        (-3.4, "is strong: the images are about 2\u202f500 times"),
        (-40.0, "is at least very strong: the images are more than 10\u202f000 times"),
        (0.3, "There is no evidence that it is another person's (log10 likelihood ratio 0.3)"),
        (None, "no other scan of this patient to tell by"),
        (float("nan"), "no other scan of this patient to tell by"),
    ],
)
def test_the_evidence_is_told_in_words_and_claims_no_more_than_can_be_known(evidence: float | None, words: str) -> None:
    assert words in one(evidence=evidence).against.sentence


@pytest.mark.parametrize(
    ("comparisons", "words"),
    [
        (12, "is at least moderate: the images are more than 12 times"),
        (2600, "is at least strong: the images are more than 2\u202f600 times"),
        (None, "is at least weak: the images are more than 2 times"),
    ],
)
def test_few_validation_patients_bear_no_strong_words(comparisons: int | None, words: str) -> None:
    (alarm,) = wrong_patient_alarms.list_wrong_patient_alarms(
        [owner("sub-a_ses-1", evidence=-11.0)], SCANS, comparisons
    )
    assert words in alarm.against.sentence
    assert (
        "log10 likelihood ratio −11.0), and the validation patients do not support a larger value"
        in alarm.against.sentence
    )


@pytest.mark.parametrize("stranger", ["sub-unknown", "sub-a", "../../etc", HOSTILE, None])
def test_an_owner_without_a_page_and_the_patient_himself_are_not_named(stranger: str | None) -> None:
    alarm = one(evidence=-2.0, owner=stranger, owner_evidence=3.0)
    assert (alarm.owner, alarm.owner_evidence) == (None, None)
    assert alarm.in_favour.sentence == "No patient of this study fits it clearly better."


def test_the_page_of_the_patient_under_whose_name_it_is_filed(page: PageReader) -> None:
    text = Reader(page("mixed")).text
    assert text.index("Check the patient") < text.index("Whose scan is this?") < text.index("Time line")
    assert "ses-2 does not look like this patient's." in text
    assert "is at least moderately strong: the images are more than 390 times as likely" in text.replace("\u202f", "")
    assert "Nothing was moved; check the records." in text
    assert f'Likelier owner: <a href="../{pseudonym("stable")}/report.html"' in page("mixed")
    assert "Change in doubt" in text


def test_the_page_of_the_likelier_owner_keeps_its_own_verdict(page: PageReader) -> None:
    text = Reader(page("stable")).text
    assert "No change beyond a rescan" in text
    assert "looks like this patient's." in text
    assert "The evidence that it is the likelier owner's is at least moderately strong" in text
    assert f'A scan filed under <a href="../{pseudonym("mixed")}/report.html"' in page("stable")


def test_no_other_page_speaks_of_it(page: PageReader) -> None:
    told = [name for name in PATIENTS if "Nothing was moved" in page(name)]
    assert told == ["stable", "mixed"]


def test_the_index_lists_the_alarm_before_all_patients_with_links_to_both(page: PageReader) -> None:
    text = Reader(page("index")).text
    assert text.index("Filed under the wrong patient?") < text.index("Patients Find")
    table = page("index").partition('<table class="sortable" id="alarms">')[2].partition("</table>")[0]
    assert table.count("<tr>") == 2
    assert [f"{pseudonym(name)}/report.html" in table for name in ("mixed", "stable", "changed")] == [True, True, False]


def test_without_an_alarm_nothing_is_said(study: Inputs) -> None:
    study.owners["alarm"] = False
    index = study.write().read_text(encoding="utf-8")
    assert "Filed under the wrong patient?" not in index
    report = (study.reports / pseudonym("mixed") / "report.html").read_text(encoding="utf-8")
    assert "Whose scan is this?" not in report
    assert Reader(report).text.index("Changed") < report.index("Time line")


def test_the_machine_outputs_say_the_same(written: Inputs) -> None:
    mixed, stable, changed = (
        json.loads((written.reports / pseudonym(name) / "report.json").read_text(encoding="utf-8"))
        for name in ("mixed", "stable", "changed")
    )
    cohort = json.loads((written.reports / "cohort.json").read_text(encoding="utf-8"))
    assert mixed["alarms"] == stable["claimed"] == cohort["alarms"]
    assert mixed["claimed"] == stable["alarms"] == changed["alarms"] == changed["claimed"] == []
    (alarm,) = cohort["alarms"]
    assert (alarm["scan"], alarm["evidence"]) == (f"{pseudonym('mixed')}_ses-2_FLAIR", -3.4)
    assert (alarm["owner"], alarm["owner_evidence"]) == (pseudonym("stable"), 5.2)
    rows = {row["subject"]: (row["alarms"], row["claimed"]) for row in cohort["rows"]}
    assert [rows[pseudonym(name)] for name in ("mixed", "stable", "changed")] == [(1, 0), (0, 1), (0, 0)]
    lines = (written.reports / "cohort.tsv").read_text(encoding="utf-8").splitlines()
    places = [lines[0].split("\t").index(name) for name in ("alarms", "claimed")]
    assert [lines[1].split("\t")[place] for place in places] == ["1", "0"]


def test_the_index_shows_the_scan_beside_both_patients_and_the_patients_pages_do_not(
    written: Inputs, page: PageReader
) -> None:
    scans = [
        f"{pseudonym('mixed')}_ses-2_FLAIR",
        f"{pseudonym('mixed')}_ses-1_FLAIR",
        f"{pseudonym('stable')}_ses-1_FLAIR",
    ]
    roles = ("This scan", "Filed under", "Likelier owner")
    words = [f"{role}, {scan}, middle axial slice" for role, scan in zip(roles, scans, strict=True)]
    assert re.findall(r'alt="([^"]*, middle axial slice)"', page("index")) == words
    for name in ("mixed", "stable"):
        assert "middle axial slice" not in page(name)
    assert "picture" not in (written.reports / "cohort.json").read_text(encoding="utf-8")


def test_a_doubtful_scan_stands_for_nobody_and_the_same_contrast_comes_first(tmp_path: Path) -> None:
    scans = [
        {"id": "sub-a_ses-1", "subject": "sub-a", "contrast": "T1w"},
        {"id": "sub-a_ses-2", "subject": "sub-a", "contrast": "FLAIR"},
        {"id": "sub-b_ses-1", "subject": "sub-b", "contrast": "T1w"},
        {"id": "sub-b_ses-2", "subject": "sub-b", "contrast": "FLAIR"},
        {"id": "sub-b_ses-3", "subject": "sub-b", "contrast": "FLAIR"},
    ]
    volume = np.zeros((6, 7, 8), np.float16)
    volume[2:4, 2:4, 4] = 1.0
    np.save(tmp_path / "v.npy", volume)
    aligned = [{"scan": row["id"], "volume": "v.npy"} for row in scans if row["id"] != "sub-b_ses-2"]
    rows = [owner(scan, evidence=-3.0, owner="sub-b", owner_evidence=2.0) for scan in ("sub-a_ses-2", "sub-a_ses-1")]
    raised = wrong_patient_alarms.list_wrong_patient_alarms(rows, [{**row, "session": "ses"} for row in scans], 100)
    first, second = side_by_side.build_wrong_patient_comparisons(raised, scans, aligned, tmp_path)
    assert [(face.role, face.scan) for face in first.faces] == [
        ("this scan", "sub-a_ses-1"),
        ("likelier owner", "sub-b_ses-1"),
    ]
    assert [(face.role, face.scan) for face in second.faces] == [
        ("this scan", "sub-a_ses-2"),
        ("likelier owner", "sub-b_ses-3"),
    ]
    assert side_by_side.build_wrong_patient_comparisons(raised, scans, aligned, tmp_path / "elsewhere") == ()
