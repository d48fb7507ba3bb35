"""One verdict over several contrasts, on rows made by hand: the rule is in `patient_verdict`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from siamese_med.reporting.data import patient_verdict, patient_visits
from siamese_med.reporting.data.report_content import ContrastLine, PatientHeadline, ReportPair, ReportVisit
from siamese_med.study.pair_score import PairScore
from siamese_med.study.score_columns import read_row
from siamese_med.study.tables import SCAN_COLUMNS, SCORE_COLUMNS

OTHER_CONTRAST = {"verdict": "not_comparable", "comparable": False, "reasons": ["other_contrast"]}
APART = {"verdict": "not_comparable", "comparable": False, "reasons": ["little_overlap"]}


def timeline(*scans: str) -> tuple[ReportVisit, ...]:
    """Visits with scans named `1 T1w`, or `1 T1w b` for a second one."""
    rows = []
    for name in scans:
        session, contrast, *_ = name.split()
        words = {"id": name, "session": f"ses-{session}", "modality": "MR", "contrast": contrast}
        rows.append({**dict.fromkeys(SCAN_COLUMNS), **words})
    return patient_visits.build_visits(rows, {})


def score(earlier: str, later: str, verdict: str = "no_change", **fields: Any) -> PairScore:
    row = {"scan_a": earlier, "scan_b": later, "kind": "follow_up", "comparable": True, "verdict": verdict, **fields}
    return read_row({**dict.fromkeys(SCORE_COLUMNS), **row})


def judge(
    visits: tuple[ReportVisit, ...], scores: Iterable[PairScore]
) -> tuple[PatientHeadline, tuple[ReportPair, ...], tuple[ContrastLine, ...]]:
    pairs = patient_visits.build_report_pairs(scores, visits, frozenset(), frozenset())
    headline = patient_verdict.compose_patient_headline(visits, pairs, ())
    return headline, pairs, patient_verdict.build_contrast_lines(visits, pairs)


BOTH = timeline("1 T1w", "1 FLAIR", "2 T1w", "2 FLAIR")


def test_a_change_in_one_contrast_is_the_patients_and_is_not_said_of_the_other() -> None:
    headline, pairs, _ = judge(
        BOTH,
        [score("1 T1w", "2 T1w", smallest_detectable_ml=0.5), score("1 FLAIR", "2 FLAIR", "changed")],
    )
    assert headline.status == "changed"
    assert (headline.contrasts, headline.unchanged, headline.not_compared) == (("FLAIR",), ("T1",), ())
    assert headline.text == (
        "From ses-1 to ses-2 the scans differ in FLAIR by more than a repeated scan would. From ses-1 to ses-2 no "
        "change beyond that of a repeated scan was found in T1; a change of 0.50 ml in T1 would have been seen."
    )
    assert [(pair.number, pair.title) for pair in pairs] == [(1, "FLAIR, ses-1 to ses-2"), (2, "T1, ses-1 to ses-2")]


def test_of_two_contrasts_that_changed_the_index_shows_the_one_with_the_lower_p() -> None:
    scores = [score("1 T1w", "2 T1w", "changed", change_p=0.002), score("1 FLAIR", "2 FLAIR", "changed", change_p=0.01)]
    _, pairs, _ = judge(BOTH, scores)
    lead = patient_verdict.choose_lead_pair(pairs)
    assert lead is not None
    assert lead.contrast == "T1"
    _, pairs, _ = judge(BOTH, [replace(scores[0], change_p=0.02), scores[1]])
    lead = patient_verdict.choose_lead_pair(pairs)
    assert lead is not None
    assert lead.contrast == "FLAIR"


def test_green_names_the_contrasts_it_rests_on_and_those_it_does_not() -> None:
    headline, _, lines = judge(BOTH, [score("1 T1w", "2 T1w"), score("1 FLAIR", "2 FLAIR", **APART)])
    assert headline.status == "no_change"
    assert (headline.contrasts, headline.not_compared) == (("T1",), ("FLAIR",))
    assert "Not compared: FLAIR (the two scans share too little of the body)." in headline.text
    assert [(line.name, line.status) for line in lines] == [("T1", "no_change"), ("FLAIR", "not_comparable")]


def test_not_comparable_only_where_no_contrast_is() -> None:
    headline, _, _ = judge(BOTH, [score("1 T1w", "2 T1w", **APART), score("1 FLAIR", "2 FLAIR", **APART)])
    assert headline.status == "not_comparable"
    assert headline.contrasts == ()
    assert headline.not_compared == ("T1", "FLAIR")
    assert headline.text.startswith("ses-2 cannot be compared with a visit before it: T1 (the two scans share")


def test_a_contrast_that_the_newest_visit_lacks_is_named_and_its_old_change_is_not_the_verdict() -> None:
    visits = timeline("1 T1w", "1 FLAIR", "2 T1w", "2 FLAIR", "3 T1w")
    headline, pairs, _ = judge(visits, [score("1 FLAIR", "2 FLAIR", "changed"), score("2 T1w", "3 T1w")])
    assert headline.status == "no_change"
    assert "FLAIR (not scanned at ses-3)" in headline.text
    assert {pair.contrast: pair.role for pair in pairs} == {"FLAIR": "step", "T1": "newest"}


def test_a_newest_visit_that_has_nothing_to_be_compared_with_gets_no_green_from_the_visits_before() -> None:
    visits = timeline("1 T1w", "2 T1w", "3 FLAIR")
    headline, _, _ = judge(visits, [score("1 T1w", "2 T1w")])
    assert headline.status == "not_comparable"
    assert "T1 (not scanned at ses-3); FLAIR (scanned at ses-3 only)" in headline.text


def test_each_contrast_has_roles_of_its_own() -> None:
    visits = timeline("1 T1w", "1 T2w", "2 T1w", "3 T1w", "3 T2w")
    scores = [score("1 T1w", "2 T1w"), score("2 T1w", "3 T1w"), score("1 T1w", "3 T1w"), score("1 T2w", "3 T2w")]
    _, pairs, lines = judge(visits, scores)
    assert [(pair.role, pair.title) for pair in pairs] == [
        ("newest", "T1, ses-2 to ses-3"),
        ("newest", "T2, ses-1 to ses-3"),
        ("since_first", "T1, ses-1 to ses-3"),
        ("step", "T1, ses-1 to ses-2"),
    ]
    assert [(line.name, line.sessions, line.pairs) for line in lines] == [
        ("T1", ("ses-1", "ses-2", "ses-3"), (1, 3, 4)),
        ("T2", ("ses-1", "ses-3"), (2,)),
    ]


def test_where_the_visit_before_cannot_be_compared_the_first_one_decides_and_both_are_told() -> None:
    visits = timeline("1 T1w", "2 T1w", "3 T1w")
    scores = [score("1 T1w", "2 T1w", **APART), score("2 T1w", "3 T1w", **APART), score("1 T1w", "3 T1w")]
    headline, _, _ = judge(visits, scores)
    assert headline.status == "no_change"
    assert "From ses-1 to ses-3 no change beyond that of a repeated scan was found in T1" in headline.text
    assert "From ses-2 to ses-3 no verdict is possible in T1: the two scans share too little" in headline.text


def test_a_repeat_of_one_visit_is_on_no_time_line_and_gives_no_verdict() -> None:
    headline, (pair,), (line,) = judge(timeline("1 T1w", "1 T1w b"), [score("1 T1w", "1 T1w b", kind="rescan")])
    assert headline.status == "one_visit"
    assert (pair.role, pair.between) == ("other", "one scan of ses-1 to another")
    assert line.pairs == ()


def test_pairs_of_two_contrasts_come_last_and_are_on_no_time_line() -> None:
    _, pairs, lines = judge(BOTH, [score("1 T1w", "2 FLAIR", **OTHER_CONTRAST), score("1 T1w", "2 T1w")])
    assert [(pair.contrast, pair.unlike, pair.role) for pair in pairs] == [
        ("T1", False, "newest"),
        ("T1 and FLAIR", True, "other"),
    ]
    assert [line.pairs for line in lines] == [(1,), ()]


def test_scans_of_unknown_contrast_that_cannot_be_told_apart_are_said_to_be_so() -> None:
    visits = timeline("1 unknown", "1 unknown b", "1 unknown c", "2 unknown")
    headline, _, _ = judge(visits, [])
    assert headline.status == "not_comparable"
    assert "ses-1 has 3 such scans, and which belongs to which is not known" in headline.text


def test_a_scan_of_unknown_contrast_is_named_beside_the_one_it_was_compared_with() -> None:
    headline, (pair,), lines = judge(timeline("1 T1w", "2 unknown"), [score("1 T1w", "2 unknown")])
    assert pair.title == "T1 and contrast not known, ses-1 to ses-2"
    assert [line.name for line in lines] == ["T1 and contrast not known"]
    assert headline.status == "no_change"


def test_uncertain_in_one_contrast_takes_the_green_from_another_and_both_are_told() -> None:
    scores = [score("1 T1w", "2 T1w", smallest_detectable_ml=0.5), score("1 FLAIR", "2 FLAIR", "uncertain")]
    headline, pairs, lines = judge(BOTH, scores)
    assert headline.status == "uncertain"
    assert (headline.contrasts, headline.uncertain, headline.unchanged) == (("FLAIR",), (), ("T1",))
    assert headline.text == (
        "From ses-1 to ses-2 it is not known whether anything changed in FLAIR: even a change of 8 ml "
        "might have been missed. Look at "
        "the images yourself. From ses-1 to ses-2 no change beyond that of a repeated scan was found in T1; a change "
        "of 0.50 ml in T1 would have been seen."
    )
    assert [pair.title for pair in pairs] == ["FLAIR, ses-1 to ses-2", "T1, ses-1 to ses-2"]
    assert [(line.name, line.status, line.why_not) for line in lines] == [
        ("T1", "no_change", ""),
        ("FLAIR", "uncertain", ""),
    ]


def test_a_change_comes_before_uncertain_which_is_not_said_to_be_unchanged() -> None:
    headline, _, _ = judge(BOTH, [score("1 T1w", "2 T1w", "uncertain"), score("1 FLAIR", "2 FLAIR", "changed")])
    assert headline.status == "changed"
    assert (headline.contrasts, headline.uncertain, headline.unchanged) == (("FLAIR",), ("T1",), ())
    assert (
        "it is not known whether anything changed in T1: even a change of 8 ml might have been missed" in headline.text
    )


def test_uncertain_comes_before_not_comparable() -> None:
    headline, _, _ = judge(BOTH, [score("1 T1w", "2 T1w", **APART), score("1 FLAIR", "2 FLAIR", "uncertain")])
    assert headline.status == "uncertain"
    assert (headline.contrasts, headline.not_compared) == (("FLAIR",), ("T1",))


@pytest.mark.parametrize(("before", "first"), [("uncertain", "no_change"), ("no_change", "uncertain")])
def test_uncertain_against_the_visit_before_or_the_first_is_the_verdict_and_both_are_told(
    before: str, first: str
) -> None:
    scores = [
        score("1 T1w", "2 T1w"),
        score("2 T1w", "3 T1w", before, smallest_detectable_ml=0.5 if before == "no_change" else None),
        score("1 T1w", "3 T1w", first, smallest_detectable_ml=0.5 if first == "no_change" else None),
    ]
    headline, _, (line,) = judge(timeline("1 T1w", "2 T1w", "3 T1w"), scores)
    assert (headline.status, headline.contrasts, headline.unchanged) == ("uncertain", ("T1",), ())
    doubted, seen = ("ses-2", "ses-1") if before == "uncertain" else ("ses-1", "ses-2")
    assert headline.text.startswith(f"From {doubted} to ses-3 it is not known whether anything changed in T1: even")
    assert (
        f"From {seen} to ses-3 no change beyond that of a repeated scan was found in T1; a change of 0.50 ml"
        in headline.text
    )
    assert (line.status, line.why_not) == ("uncertain", "")


def test_an_uncertain_pair_of_earlier_visits_is_not_the_verdict() -> None:
    scores = [score("1 T1w", "2 T1w", "uncertain"), score("2 T1w", "3 T1w", smallest_detectable_ml=0.5)]
    headline, _, _ = judge(timeline("1 T1w", "2 T1w", "3 T1w"), scores)
    assert headline.status == "no_change"
    assert "might have been missed" not in headline.text


def test_a_repeated_scan_that_is_uncertain_takes_the_promise_from_the_other() -> None:
    visits = timeline("1 T1w", "2 T1w", "2 T1w b")
    scores = [score("1 T1w", "2 T1w", smallest_detectable_ml=0.5), score("1 T1w", "2 T1w b", "uncertain")]
    headline, pairs, _ = judge(visits, scores)
    assert headline.status == "uncertain"
    assert "would have been seen" not in headline.text
    assert [pair.verdict for pair in pairs] == ["uncertain", "no_change"]


@pytest.mark.parametrize(("first", "second", "words"), [(0.5, 0.8, "0.80 ml"), (0.5, None, "too noisy")])
def test_of_a_repeated_scan_the_larger_detectable_volume_is_promised(
    first: float, second: float | None, words: str
) -> None:
    visits = timeline("1 T1w", "2 T1w", "2 T1w b")
    scores = [
        score("1 T1w", "2 T1w", smallest_detectable_ml=first),
        score("1 T1w", "2 T1w b", smallest_detectable_ml=second),
    ]
    assert words in judge(visits, scores)[0].text


def test_scans_that_seem_to_be_of_several_people_have_no_verdict() -> None:
    rows = [
        {**dict.fromkeys(SCAN_COLUMNS), "id": f"{n} T1w", "session": f"ses-{n}", "modality": "MR", "contrast": "T1w"}
        for n in (1, 2)
    ]
    rows[0]["flags"] = rows[1]["flags"] = ["identity_conflict"]
    headline, *_ = judge(patient_visits.build_visits(rows, {}), [])
    assert headline.status == "not_comparable"
    assert "may be of several people" in headline.text
