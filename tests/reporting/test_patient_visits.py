"""Order of visits, roles of pairs and the headline, on rows made by hand."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import pandas as pd
import pytest

from siamese_med.reporting.data import patient_verdict, patient_visits, wrong_patient_alarms
from siamese_med.reporting.data.report_content import ReportPair, ReportVisit
from siamese_med.reporting.model import reference_figures
from siamese_med.study.pair_score import PairScore
from siamese_med.study.score_columns import read_row
from siamese_med.study.tables import OWNER_COLUMNS, SCAN_COLUMNS, SCORE_COLUMNS
from siamese_med.study.visit_order import sort_scans_by_time
from tests import trained

Timeline = tuple[tuple[ReportVisit, ...], tuple[ReportPair, ...]]


def scan(number: int, date: str | None = None, **fields: Any) -> dict[str, Any]:
    row = dict.fromkeys(SCAN_COLUMNS)
    return {**row, "id": f"s{number}", "session": f"ses-{number}", "date": date, "scanner": "scanner-a", **fields}


def score(first: int, second: int, **fields: Any) -> PairScore:
    row = {
        **dict.fromkeys(SCORE_COLUMNS),
        "scan_a": f"s{first}",
        "scan_b": f"s{second}",
        "kind": "follow_up",
        "comparable": True,
        "verdict": "no_change",
        "similarity": 0.9,
        **fields,
    }
    return read_row(row)


def timeline(count: int, *rows: PairScore, doubtful: Set[str] = frozenset()) -> Timeline:
    visits = patient_visits.build_visits([scan(number) for number in range(1, count + 1)], {})
    return visits, patient_visits.build_report_pairs(rows, visits, {"s1", "s2"}, doubtful)


def test_a_scan_says_how_its_contrast_is_known_where_the_catalogue_does() -> None:
    told = scan(1, contrast_source="image", contrast_confidence=0.83)
    found = [visit.scans[0] for visit in patient_visits.build_visits([told, scan(2)], {})]
    assert [one.contrast_source for one in found] == ["image", None]
    assert [one.contrast_confidence for one in found] == [0.83, None]


def test_visits_follow_the_dates_where_all_are_known() -> None:
    visits = patient_visits.build_visits([scan(1, "2031-05-01"), scan(2, "2030-05-01"), scan(3, "2031-05-31")], {})
    assert [(visit.session, visit.day) for visit in visits] == [("ses-2", 0), ("ses-1", 365), ("ses-3", 395)]


def test_visits_without_a_date_follow_those_with_one_by_their_numbers() -> None:
    visits = patient_visits.build_visits([scan(10), scan(7, "2031-06-01"), scan(9), scan(8, "2031-05-01")], {})
    assert [visit.session for visit in visits] == ["ses-8", "ses-7", "ses-9", "ses-10"]
    assert [visit.day for visit in visits] == [0, 31, None, None]


def test_pairs_run_in_the_order_of_the_visits() -> None:
    days = {1: None, 2: "2031-05-01", 3: None, 4: "2030-05-01"}
    rows = [scan(number, day, subject="sub-1") for number, day in days.items()]
    order = [visit.scans[0].id for visit in patient_visits.build_visits(rows, {})]
    assert [row.id for row in sort_scans_by_time(pd.DataFrame(rows).itertuples())] == order == ["s4", "s2", "s1", "s3"]


def test_a_scanner_change_is_marked_once_and_unknown_scanners_are_none() -> None:
    names = ("scanner-a", "unknown", "scanner-b", "scanner-b", "scanner-a")
    visits = patient_visits.build_visits([scan(number, scanner=name) for number, name in enumerate(names)], {})
    assert [visit.scanner_changed for visit in visits] == [False, False, True, False, True]


def test_roles_and_order_of_the_pairs() -> None:
    _, pairs = timeline(4, score(1, 2), score(2, 3), score(3, 4), score(1, 4), score(2, 4))
    assert [(pair.role, pair.earlier, pair.later) for pair in pairs] == [
        ("newest", "s3", "s4"),
        ("since_first", "s1", "s4"),
        ("step", "s2", "s3"),
        ("step", "s1", "s2"),
        ("other", "s2", "s4"),
    ]


def test_pairs_of_two_patients_are_no_part_of_a_history() -> None:
    _, pairs = timeline(2, score(1, 2, kind="different"), score(1, 9))
    assert pairs == ()


@pytest.mark.parametrize(
    ("doubtful", "status"), [({"s1"}, "wrong_patient"), ({"s2"}, "wrong_patient"), ({"s3"}, "no_change")]
)
def test_a_pair_is_doubtful_where_one_of_its_scans_is_and_its_own_similarity_is_not_asked(
    doubtful: set[str], status: str
) -> None:
    _, (pair,) = timeline(3, score(1, 2, similarity=0.001), doubtful=doubtful)
    assert pair.status == status
    assert pair.score.similarity == 0.001


def test_identity_is_judged_between_scans_that_the_network_knows() -> None:
    _, pairs = timeline(3, score(1, 2), score(2, 3))
    assert {pair.later: pair.identity_judged for pair in pairs} == {"s2": True, "s3": False}


@pytest.mark.parametrize(
    ("fields", "known"),
    [({}, True), ({"contrast": "T1w"}, False), ({"modality": "CT"}, False), ({"contrast": None}, False)],
)
def test_the_network_knows_scans_of_the_kind_it_was_trained_on(fields: dict[str, Any], known: bool) -> None:
    reference = reference_figures.build_reference(trained.model_info())
    row = scan(1, modality="MR", contrast="FLAIR") | fields
    for aligned in (True, False):
        (visit,) = patient_visits.build_visits([row], {"s1": {"ok": aligned}})
        assert reference.knows(visit.scans[0]) is (known and aligned)


def test_a_doubtful_scan_anywhere_comes_before_every_verdict() -> None:
    visits, pairs = timeline(3, score(1, 2), score(2, 3, verdict="changed"), doubtful={"s1"})
    owners = [{**dict.fromkeys(OWNER_COLUMNS), "scan": "s1", "subject": "sub-a", "alarm": True, "evidence": -2.0}]
    raised = wrong_patient_alarms.list_wrong_patient_alarms(owners, [{**scan(1), "subject": "sub-a"}], 100)
    headline = patient_verdict.compose_patient_headline(visits, pairs, raised)
    assert headline.status == "wrong_patient"
    assert headline.text.startswith("A scan of ses-1 does not look like this patient's")


def test_slow_change_since_the_first_visit_is_not_lost() -> None:
    visits, pairs = timeline(3, score(1, 2), score(2, 3), score(1, 3, verdict="changed"))
    headline = patient_verdict.compose_patient_headline(visits, pairs, ())
    assert headline.status == "changed"
    assert headline.text.startswith("From ses-1 to ses-3 the scans differ")
    assert "From ses-2 to ses-3 no change beyond that of a repeated scan was found" in headline.text


def test_an_old_change_is_not_the_newest_verdict() -> None:
    visits, pairs = timeline(3, score(1, 2, verdict="changed"), score(2, 3), score(1, 3))
    assert patient_verdict.compose_patient_headline(visits, pairs, ()).status == "no_change"


def test_reasons_are_told_in_words() -> None:
    visits, pairs = timeline(2, score(1, 2, verdict="not_comparable", reasons=["little_overlap"]))
    assert "share too little of the body" in patient_verdict.compose_patient_headline(visits, pairs, ()).text
