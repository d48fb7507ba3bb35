"""The text to paste: it says what the verdict says of each contrast, with its figures, and nothing stronger."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from siamese_med.reporting.data import findings_text, methods_text, patient_verdict
from siamese_med.reporting.data.findings_text import FindingsSource, compose_findings
from siamese_med.reporting.data.report_content import PatientHeadline, ReportVisit
from siamese_med.study.pair_score import PairScore
from siamese_med.study.vocabulary import PatientStatus, ScanFlag, Verdict
from tests.reporting import browser, devtools
from tests.reporting.conftest import Inputs, pseudonym
from tests.reporting.devtools import Chromium
from tests.reporting.test_patient_verdict import APART, BOTH, judge, score, timeline

PARTS = [
    {"kind": "new", "volume_ml": 1.2, "sign": 1, "region": "left deep white matter"},
    {"kind": "new", "volume_ml": 0.4, "sign": 1},
    {"kind": "shrinking", "volume_ml": 0.3, "sign": -1},
    {"kind": "may_be_chance", "volume_ml": 9.0, "sign": 1},
]
CHANGED = {"volume_ml": 1.95, "change_p_adjusted": 0.012, "components": PARTS, "smallest_detectable_ml": 0.68}
THREE = timeline("1 T1w", "1 FLAIR", "2 T1w", "2 FLAIR", "3 T1w", "3 FLAIR")


def compose(visits: tuple[ReportVisit, ...], *scores: PairScore, **fields: Any) -> tuple[str, str, str]:
    headline, pairs, lines = judge(visits, scores)
    return compose_findings(replace(FindingsSource(headline, visits, pairs, lines, ()), **fields))


@pytest.mark.parametrize(
    ("verdict", "fields", "change", "amount"),
    [
        (
            "changed",
            CHANGED | {"interval_days": 183},
            "From ses-1 to ses-2 (183 days) there is change in FLAIR beyond that of a repeated scan.",
            "In FLAIR, beyond a repeated scan (corrected p = 0.012): 2 new parts of 1.60 ml in all that became "
            "brighter (left deep white matter, other places) and 1 shrinking part of 0.30 ml that became darker; "
            "elsewhere a change of 0.68 ml or more would have been seen with a chance of 80 %, and a smaller one may "
            "have been missed.",
        ),
        (
            "changed",
            {"change_p_adjusted": 0.0001},
            "From ses-1 to ses-2 (interval unknown) there is change in FLAIR beyond that of a repeated scan.",
            "In FLAIR, no voxel of the change map is over its threshold: the change is faint or spread out (corrected "
            "p < 0.001); elsewhere even a change of 8 ml might have been missed.",
        ),
        (
            "changed",
            CHANGED | {"components": PARTS[3:]},
            "From ses-1 to ses-2 (interval unknown) there is change in FLAIR beyond that of a repeated scan.",
            "In FLAIR, 1.95 ml are over the threshold of the change map (corrected p = 0.012), but no single part of "
            "it is beyond a repeated scan; elsewhere a change of 0.68 ml or more would have been seen with a chance of "
            "80 %, and a smaller one may have been missed.",
        ),
        (
            "no_change",
            {"smallest_detectable_ml": 0.5, "interval_days": 1},
            "From ses-1 to ses-2 (1 day) no change beyond that of a repeated scan was found in FLAIR.",
            "In FLAIR a change of 0.50 ml or more would have been seen with a chance of 80 %, and a smaller one may "
            "have been missed.",
        ),
        (
            "uncertain",
            {"volume_ml": 0.4},
            "From ses-1 to ses-2 (interval unknown) it is too uncertain in FLAIR to tell whether anything changed.",
            "In FLAIR even a change of 8 ml might have been missed.",
        ),
        (
            "not_comparable",
            APART,
            "ses-2 could not be compared with an earlier visit, so nothing can be said of change.",
            "No amount of change was measured.",
        ),
    ],
)
def test_each_verdict_is_told_with_its_figures(verdict: str, fields: dict[str, Any], change: str, amount: str) -> None:
    told = compose(timeline("1 FLAIR", "2 FLAIR"), score("1 FLAIR", "2 FLAIR", **{"verdict": verdict, **fields}))
    assert told[:2] == (change, amount)


def test_what_may_come_from_contrast_agent_is_told_last_and_one_lesion_is_told_to_be_one() -> None:
    def changed(contrast: str, region: str) -> PairScore:
        part = {"kind": "new", "volume_ml": 1.2, "sign": 1, "region": region, "finding": 1}
        fields = CHANGED | {"components": [part]}
        return score(f"1 {contrast}", f"2 {contrast}", "changed", **fields)

    visits = timeline("1 T1w", "1 FLAIR", "2 T1w", "2 FLAIR")
    for region, first, second in (("left cortex", "T1", "FLAIR"), ("left lateral ventricle", "FLAIR", "T1")):
        _, amount, limits = compose(visits, changed("T1w", region), changed("FLAIR", region))
        assert amount.index(f"n {first}, beyond") < amount.index(f"n {second}, beyond")
        assert amount.endswith(f"; the same place also changed in {first}.")
        assert ("contrast agent" in limits) == (first == "FLAIR")


def test_what_was_left_out_and_why_is_told() -> None:
    scores = (score("1 T1w", "2 T1w", "uncertain"), score("1 FLAIR", "2 FLAIR", **APART))
    assert compose(BOTH, *scores, claimed=True)[2] == (
        "Not compared with an earlier visit: FLAIR (the two scans share too little of the body); read T1 by eye: "
        "the measurement cannot say whether anything changed there; the date of ses-1 and ses-2 is not known; a scan "
        "that is filed under another patient may be this patient's."
    )


@pytest.mark.parametrize("newest", ["not_comparable", "no_change", "uncertain"])
def test_change_between_earlier_visits_is_told_where_the_newest_has_another_verdict(newest: str) -> None:
    visits = timeline("1 T1w", "2 T1w", "3 T1w")
    changed = score("1 T1w", "2 T1w", "changed", interval_days=183)
    none = newest == "not_comparable"
    ending = [score(one, "3 T1w", **(APART if none else {"verdict": newest})) for one in ("1 T1w", "2 T1w")]
    told = compose(visits, changed, *ending)
    assert told[0].endswith(
        "; between other visits there is change beyond that of a repeated scan: from ses-1 to ses-2 (183 days) in T1."
    )
    assert ("so nothing can be said of change up to ses-3;" in told[0]) == none
    assert ("No amount of change was measured up to ses-3." in told[1]) == none


def test_a_scanner_that_changed_counts_only_within_what_was_compared() -> None:
    visits = [replace(visit, day=number, scanner_changed=number == 2) for number, visit in enumerate(THREE, start=1)]
    old = tuple(visits)
    assert "scanner" not in compose(old, score("2 T1w", "3 T1w"))[2]
    assert (
        "the scanner changed at ses-2" in compose(old, score("2 T1w", "3 T1w"), score("1 T1w", "3 T1w", "changed"))[2]
    )
    whole = timeline("1 T1w", "2 T1w")
    dated = tuple(replace(visit, day=number) for number, visit in enumerate(whole))
    assert compose(dated, score("1 T1w", "2 T1w"))[2] == "No contrast of the newest visit was left out."


@pytest.mark.parametrize("verdicts", product([*map(str, Verdict)], repeat=4))
def test_no_sentence_is_stronger_than_the_verdicts_it_rests_on(verdicts: tuple[str, ...]) -> None:
    places = product(("T1", "FLAIR"), ("ses-2", "ses-1"))
    known = dict(zip(places, verdicts, strict=True))
    scores = [
        score(
            f"{first[4:]} {contrast.replace('T1', 'T1w')}",
            f"3 {contrast.replace('T1', 'T1w')}",
            **(APART if verdict == "not_comparable" else {"verdict": verdict, **CHANGED}),
        )
        for (contrast, first), verdict in known.items()
    ]
    change, amount, limits = told = compose(THREE, *scores)
    assert all(len(re.findall(r"\.(?: |$)", sentence)) == 1 for sentence in told)
    assert not any("nothing changed" in sentence or "unchanged" in sentence for sentence in told)
    for clause in re.split(r"; from |From |, | and (?=it|no|there)", change):
        for contrast in ("T1", "FLAIR"):
            of_it = {verdict for (name, _), verdict in known.items() if name == contrast}
            if re.search(rf"there is change in .*\b{contrast}\b", clause):
                assert "changed" in of_it
            if re.search(rf"no change .*\b{contrast}\b", clause):
                assert "no_change" in of_it
    for contrast in ("T1", "FLAIR"):
        of_it = {verdict for (name, _), verdict in known.items() if name == contrast}
        if "uncertain" in of_it:
            assert re.search(rf"too uncertain in [\w ]*\b{contrast}\b", change)
            assert re.search(rf"\b[Rr]ead [\w ]*\b{contrast}\b[\w ]* by eye", limits)
            assert f"n {contrast}" in amount
        if of_it == {"not_comparable"}:
            assert contrast not in change
            assert f"{contrast} (the two scans share too little of the body)" in limits
    assert ("so nothing can be said" in change) == (set(verdicts) == {"not_comparable"})


def test_of_a_repeated_scan_the_pair_that_shows_least_is_told() -> None:
    visits = timeline("1 T1w", "2 T1w", "2 T1w b")
    told = compose(
        visits,
        score("1 T1w", "2 T1w", smallest_detectable_ml=0.5),
        score("1 T1w", "2 T1w b", smallest_detectable_ml=2.5),
    )
    assert "2.50 ml" in told[1]
    assert "0.50" not in told[1]
    doubted = compose(visits, score("1 T1w", "2 T1w"), score("1 T1w", "2 T1w b", "uncertain"))
    assert "no change" not in doubted[0]


def test_under_an_alarm_no_change_and_no_amount_is_told() -> None:
    headline, pairs, lines = judge(BOTH, [score("1 FLAIR", "2 FLAIR", "changed", **CHANGED)])
    doubted = replace(headline, status=str(PatientStatus.WRONG_PATIENT))
    told = " ".join(compose_findings(FindingsSource(doubted, BOTH, pairs, lines, ())))
    assert told.startswith("No change is reported: a scan under this patient's name does not look like this patient's.")
    assert not re.search(r"\d", told)


def test_one_visit_and_contradicting_headers_say_so() -> None:
    alone = timeline("1 T1w")
    assert compose(alone)[0] == "There is one visit only (ses-1), so nothing can be said of change."
    none = FindingsSource(PatientHeadline(str(PatientStatus.ONE_VISIT), ""), (), (), (), ())
    assert compose_findings(none)[0] == "There is no scan, so nothing can be said of change."
    mixed = tuple(
        replace(visit, scans=tuple(replace(scan, flags=(str(ScanFlag.IDENTITY_CONFLICT),)) for scan in visit.scans))
        for visit in BOTH
    )
    assert "may be of several people" in compose(mixed, score("1 T1w", "2 T1w"))[0]


def test_a_plug_ins_name_and_versions_become_text_and_only_what_is_cited_is_listed(written: Inputs) -> None:
    report = read(written, "changed")
    methods, references = report["text"]["methods"], report["text"]["references"]
    assert {int(number) for number in re.findall(r"\[(\d+)\]", methods)} == set(range(1, len(references) + 1))
    assert methods.index("[1]") < methods.index("[2]") < methods.index(f"[{len(references)}]")
    for name, version in report["provenance"]["versions"].items():
        assert f"{name} {version}" in methods
    assert report["provenance"]["model"] in methods
    alone = read(written, "single")["text"]["methods"]
    assert "registered" not in alone
    assert "Siamese network [1]" in alone
    assert methods_text._plain("{monai} {0.__class__}") == "(monai) (0.__class__)"


def read(written: Inputs, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((written.reports / pseudonym(name) / "report.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", ["changed", "stable", "mixed", "unlike", "single", "bare"])
def test_page_file_and_json_have_the_same_words(written: Inputs, name: str) -> None:
    text = read(written, name)["text"]
    file = " ".join((written.reports / pseudonym(name) / "report.txt").read_text(encoding="utf-8").split())
    assert f"{text['change']} {text['amount']} {text['limits']} {text['notice']}" in file
    assert text["methods"] in file
    assert "\u00a0" not in json.dumps(text, ensure_ascii=False)
    known = {pair["verdict"] for pair in read(written, name)["pairs"] if pair["role"] in ("newest", "since_first")}
    assert ("there is change" in text["change"]) == (known == {"changed"} and name != "mixed")


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_the_button_copies_the_text_without_a_network(written: Inputs, chromium: Chromium) -> None:
    page = written.reports / pseudonym("changed") / "report.html"
    text = read(written, "changed")["text"]
    script = """
    document.querySelector('details.paste').open = true;
    document.addEventListener('copy', () => { window.copied = String(window.getSelection()); });
    document.querySelector('[data-copy=%s]').click();
    [window.copied, document.querySelector('.copied').textContent];
    """
    with devtools.opened(chromium, page.as_uri()) as tab:
        copied, told = tab.evaluate(f"{{{script % 'findings'}}}", pressed=True)
        assert copied.split() == f"{text['change']} {text['amount']} {text['limits']} {text['notice']}".split()
        assert told == "Copied."
        methods, _ = tab.evaluate(f"{{{script % 'methods'}}}", pressed=True)
        assert methods.startswith(text["methods"])
        assert f"1. {text['references'][0]}" in methods
        assert tab.complaints == []


def test_marked_lesions_are_counted_by_what_became_of_them() -> None:
    from siamese_med.reporting.data.lesion_content import LesionLine, ReportLesion

    def line(*fates: str) -> LesionLine:
        return LesionLine("FLAIR", (), tuple(ReportLesion(n, fate, (), None) for n, fate in enumerate(fates)), ())

    told = compose(BOTH, score("1 T1w", "2 T1w"), lesions=(line("new", "stable", "new", "enlarging"),))
    assert told[1].endswith("; of 4 marked lesions in FLAIR 2 new and 1 enlarging since the first date.")
    told = compose(BOTH, score("1 T1w", "2 T1w"), lesions=(line("stable", "first"),))
    assert told[1].endswith(
        "of 2 marked lesions in FLAIR none is new or has changed beyond the error of its volumes since the first date."
    )


def test_a_new_lesion_that_merged_and_one_that_nothing_can_be_compared_with_are_told() -> None:
    from siamese_med.reporting.data.lesion_content import LesionLine, LesionLoad, ReportLesion, ReportLesionMark

    marks = tuple(
        ReportLesionMark(scan, fate, None, None, (), 1, None) for scan, fate in (("b", "new"), ("c", "merged"))
    )
    lesions = (
        ReportLesion(1, "stable", (), None),
        ReportLesion(2, "merged", marks, None),
        ReportLesion(3, "first", (), None),
    )
    loads = tuple(LesionLoad(scan, scan, 0, 1, 1.0, 0.1) for scan in "abc")
    told = compose(BOTH, score("1 T1w", "2 T1w"), lesions=(LesionLine("FLAIR", loads, lesions, ()),))
    assert told[1].endswith(
        "of 3 marked lesions (1 shown on one date only) in FLAIR 1 new, then merged with another since the first date."
    )


def test_marked_volumes_and_the_sizes_of_new_lesions_are_given() -> None:
    from siamese_med.reporting.data.lesion_content import LesionLine, LesionLoad, ReportLesion, ReportLesionMark

    def lesion(number: int, fate: str, volume: float) -> ReportLesion:
        return ReportLesion(number, fate, (ReportLesionMark("b", fate, volume, 0.1, (), None, None),), None)

    loads = (LesionLoad("a", "1", 0, 1, 47.091, 3.447), LesionLoad("b", "2", 120, 3, 56.79, 4.77))
    lesions = (lesion(1, "stable", 56.6), lesion(2, "new", 0.0857), lesion(3, "new", 0.0171))
    told = compose(BOTH, score("1 T1w", "2 T1w"), lesions=(LesionLine("FLAIR", loads, lesions, ()),))
    assert told[1].endswith(
        "; in FLAIR the masks mark 47.09 ml (standard error 3.45) at 1 and 56.79 ml (standard error 4.77) at 2; "
        "of 3 marked lesions in FLAIR 2 new (of 0.02 to 0.09 ml, which may be the edge of a mask) since the first date."
    )


def test_the_constants_of_the_text_are_those_of_the_verdict() -> None:
    assert findings_text.LARGEST_TESTED == "8 ml"
    assert findings_text.POWER == "80 %"
    assert patient_verdict.group_judged_pairs([]) == {Verdict.CHANGED: {}, Verdict.UNCERTAIN: {}, Verdict.NO_CHANGE: {}}
