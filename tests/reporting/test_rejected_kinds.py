"""Findings of a kind that readers rejected are listed apart in all patients, with the reason; nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from siamese_med.reporting.data.reader_findings import make_part_id
from siamese_med.reporting.data.rejected_kinds import AnsweredKind, FindingKind, find_kind, learn_rejected_kinds
from siamese_med.study.component import Component
from siamese_med.study.config import ReportConfig
from siamese_med.study.reader_answers import AnsweredFinding, ReaderAnswerFile, write_stored_answers
from siamese_med.study.thresholds import MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS
from siamese_med.study.vocabulary import FindingAnswer
from tests.reporting import figures
from tests.reporting.conftest import COMPONENTS, Builder, Inputs, build, pseudonym

FLOW = FindingKind("FLAIR", "fluid spaces", 1)
LESION = FindingKind("FLAIR", "deep white matter", -1)
PATIENTS = [pseudonym(f"reader{number}") for number in range(MIN_REJECTED_FINDINGS + 1)]
OTHER = PATIENTS[-1]
"""The patient whose findings nobody answers to."""


def flow(count: int, patients: int, rejected: bool = True) -> list[AnsweredKind]:
    return [AnsweredKind(f"sub-{number % patients}", FLOW, rejected) for number in range(count)]


def test_enough_rejected_findings_of_enough_patients_make_a_kind() -> None:
    answers = flow(MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS)
    learned = {FLOW: (MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS)}
    assert learn_rejected_kinds(answers) == learned
    assert learn_rejected_kinds([*answers, AnsweredKind("sub-1", LESION, False)]) == learned


@pytest.mark.parametrize(
    "answers",
    [
        [],
        flow(MIN_REJECTED_FINDINGS - 1, MIN_REJECTED_FINDINGS - 1),
        flow(50, MIN_REJECTED_PATIENTS - 1),
        flow(50, 50) + flow(1, 1, rejected=False),
        flow(50, 50, rejected=False),
    ],
    ids=["none", "too few findings", "too few patients", "one confirmed", "all confirmed"],
)
def test_nothing_is_learned_from_too_few_answers_or_against_a_confirmed_one(answers: list[AnsweredKind]) -> None:
    assert learn_rejected_kinds(answers) == {}


def test_other_contrasts_tissues_and_signs_are_other_kinds_and_sides_are_not() -> None:
    def kind(contrast: str, region: str | None, sign: int | None) -> FindingKind | None:
        return find_kind(contrast, Component("new", 0.3, sign, 0.001, (), (1.0, 2.0, 3.0), region))

    assert kind("FLAIR", "left cortex", 1) == kind("FLAIR", "right cortex", 1)
    assert len({kind("FLAIR", "left cortex", 1), kind("T1", "left cortex", 1), kind("FLAIR", "left cortex", -1)}) == 3
    assert kind("FLAIR", "brain stem", 1) != kind("FLAIR", "left cortex", 1)
    assert kind("FLAIR", None, 1) is None
    assert kind("FLAIR", "brain stem", None) is None


def fill(builder: Builder) -> None:
    """Patients with two visits, a bright finding in the fluid spaces, and a dark one in white matter."""
    spot, lesion = COMPONENTS[0] | {"region": "fluid spaces"}, COMPONENTS[1] | {"region": "left deep white matter"}
    for subject in PATIENTS:
        builder.visits(subject, 2)
        builder.pair(subject, 1, 2, 6.2, pictures=False, components=[spot, lesion])


def answer(inputs: Inputs, subject: str, spot: FindingAnswer, lesion: FindingAnswer | None = None) -> None:
    scans = [f"{subject}_ses-{number}_FLAIR" for number in (1, 2)]
    given = [
        AnsweredFinding(id=make_part_id(*scans, part["earlier_mm"]), answer=said, remark="")  # type: ignore[arg-type]
        for part, said in zip(COMPONENTS, (spot, lesion), strict=True)
        if said
    ]
    write_stored_answers(inputs.data, ReaderAnswerFile.make(subject, given, []))


def report(inputs: Inputs, subject: str = OTHER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((inputs.reports / subject / "report.json").read_text(encoding="utf-8"))
    return found


def page(inputs: Inputs, subject: str = OTHER) -> str:
    return (inputs.reports / subject / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A study in which the spots of all patients but OTHER were rejected, and one lesion confirmed."""
    inputs = build(tmp_path_factory.mktemp("rejected"), ReportConfig(title="Readers"), fill)
    for subject in PATIENTS[:-1]:
        answer(inputs, subject, FindingAnswer.REJECTED)
    answer(inputs, PATIENTS[0], FindingAnswer.REJECTED, FindingAnswer.CONFIRMED)
    inputs.write()
    return inputs


def test_the_page_lists_such_findings_apart_with_the_reason_and_its_json_has_every_number(answered: Inputs) -> None:
    told = report(answered)
    assert [one["set_aside"] for one in told["reader"]["findings"]] == [True, False]
    assert told["reader"]["rejected_kinds"] == [
        {
            "contrast": "FLAIR",
            "tissue": "fluid spaces",
            "sign": 1,
            "set_aside": 1,
            "rejected": MIN_REJECTED_FINDINGS,
            "patients": MIN_REJECTED_FINDINGS,
        }
    ]
    text = page(answered)
    changed, apart = text.split("Places of a kind that readers rejected", 1)
    assert "11, −24, 30" in apart.split("</table>")[0]
    assert "11, −24, 30" not in changed.rsplit("What changed, ", 1)[1]
    assert f"{MIN_REJECTED_FINDINGS} rejected in {MIN_REJECTED_FINDINGS} patients, none confirmed" in " ".join(
        changed.split()
    )
    card = text.partition('<section class="verdict')[2].partition("</section>")[0]
    assert "Strongest part" in card
    assert "fluid spaces" not in card, "the card names no part that is set aside"
    assert figures.of_patient(text, told) == []
    told["reader"]["rejected_kinds"][0] |= {"rejected": 77, "patients": 77}
    assert len(figures.of_patient(text, told)) == 4


def test_a_finding_with_an_answer_stays_where_it_is(answered: Inputs) -> None:
    assert not any(one["set_aside"] for one in report(answered, PATIENTS[0])["reader"]["findings"])
    assert "Places of a kind that readers rejected" not in page(answered, PATIENTS[0])


def test_verdict_figures_and_text_are_as_without_answers_and_the_setting_leaves_all_in_place(
    answered: Inputs, tmp_path: Path
) -> None:
    off = replace(answered, reports=tmp_path, config=answered.config.model_copy(update={"learn_from_answers": False}))
    off.write()
    before, after = report(off), report(answered)
    assert not any(one["set_aside"] for one in before["reader"]["findings"])
    assert "Places of a kind that readers rejected" not in page(off)
    assert {key for key in after if before[key] != after[key]} == {"reader", "provenance"}  # it has the settings
    index = [json.loads((one / "cohort.json").read_text(encoding="utf-8")) for one in (tmp_path, answered.reports)]
    assert {key for key in index[0] if index[0][key] != index[1][key]} == {"provenance"}


def test_one_confirmed_finding_puts_the_kind_back(answered: Inputs, tmp_path: Path) -> None:
    own = build(tmp_path, answered.config, fill)
    for subject in PATIENTS[:-1]:
        answer(own, subject, FindingAnswer.CONFIRMED if subject == PATIENTS[0] else FindingAnswer.REJECTED)
    own.write()
    assert report(own)["reader"]["rejected_kinds"] == []
    assert not any(one["set_aside"] for one in report(own)["reader"]["findings"])
