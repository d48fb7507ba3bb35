"""Set findings aside that are of a kind which readers of the study rejected, in any of its patients.

A kind is a contrast, a tissue and a sign: brighter on FLAIR in the fluid spaces, say. It counts as rejected where
readers rejected at least MIN_REJECTED_FINDINGS findings of it in MIN_REJECTED_PATIENTS patients, and nobody confirmed
one: a single confirmed finding holds against any number of rejected ones. A place outside the brain's structures is of
no kind.

Nothing is hidden, and no verdict, figure or file for an archive follows from it: a page lists such findings as places
to look at and says why. A finding with an answer of its own stays where it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siamese_med.reporting.data.reader_content import RejectedKind
from siamese_med.study.thresholds import MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS
from siamese_med.study.vocabulary import FindingAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siamese_med.reporting.data.reader_content import ReportFinding
    from siamese_med.reporting.data.report_content import PatientReport
    from siamese_med.study.component import Component


@dataclass(frozen=True)
class FindingKind:
    """Common properties of findings of different patients: contrast (in words), tissue without its side, sign."""

    contrast: str
    tissue: str
    sign: int


@dataclass(frozen=True)
class AnsweredKind:
    """A reader's answer to one finding of a patient, and the finding's kind."""

    subject: str
    kind: FindingKind
    rejected: bool


def find_kind(contrast: str, part: Component) -> FindingKind | None:
    """Find the kind of a part; None where its region or sign is not known.

    Examples
    --------
    >>> from siamese_med.study.component import Component
    >>> find_kind("FLAIR", Component("new", 0.3, 1, 0.001, (), (), region="left lateral ventricle"))
    FindingKind(contrast='FLAIR', tissue='lateral ventricle', sign=1)
    """
    if not part.region or not part.sign:
        return None
    return FindingKind(contrast, part.region.removeprefix("left ").removeprefix("right "), part.sign)


def learn_rejected_kinds(
    answers: Iterable[AnsweredKind], least: tuple[int, int] = (MIN_REJECTED_FINDINGS, MIN_REJECTED_PATIENTS)
) -> dict[FindingKind, tuple[int, int]]:
    """Learn which kinds count as rejected, with the number of rejected findings and of their patients.

    `least`: of these two, how many there must be.

    Examples
    --------
    >>> flow = FindingKind("FLAIR", "fluid spaces", 1)
    >>> answers = [AnsweredKind(f"sub-{number}", flow, True) for number in range(5)]
    >>> learn_rejected_kinds(answers) == {flow: (5, 5)}
    True
    >>> learn_rejected_kinds([*answers, AnsweredKind("sub-9", flow, False)])
    {}
    """
    rejected: dict[FindingKind, list[str]] = defaultdict(list)
    confirmed = set()
    for one in answers:
        if one.rejected:
            rejected[one.kind].append(one.subject)
        else:
            confirmed.add(one.kind)
    counts = {kind: (len(whose), len(set(whose))) for kind, whose in rejected.items() if kind not in confirmed}
    return {kind: told for kind, told in counts.items() if told[0] >= least[0] and told[1] >= least[1]}


def set_aside_rejected_kinds(reports: Sequence[PatientReport]) -> list[PatientReport]:
    """Mark the findings without an answer that are of a rejected kind; reports keep their order."""
    answers = [answer for report in reports for answer in _list_answers(report)]
    learned = learn_rejected_kinds(answers)
    return [_set_aside(report, learned) for report in reports] if learned else list(reports)


def _list_answers(report: PatientReport) -> list[AnsweredKind]:
    given = [one for one in report.reader.findings if one.answer]
    kinds = [_kind_of(report, one) for one in given]
    return [
        AnsweredKind(report.subject, kind, one.answer == FindingAnswer.REJECTED)
        for one, kind in zip(given, kinds, strict=True)
        if kind
    ]


def _kind_of(report: PatientReport, finding: ReportFinding) -> FindingKind | None:
    """The kind of a finding; None for a marked lesion, which a person has drawn."""
    pair = next((one for one in report.pairs if one.number == finding.pair), None)
    if pair is None or finding.part is None:
        return None
    return find_kind(finding.contrast, pair.score.components[finding.part - 1])


def _set_aside(report: PatientReport, learned: dict[FindingKind, tuple[int, int]]) -> PatientReport:
    kinds = {one.id: _kind_of(report, one) for one in report.reader.findings if not one.answer}
    found = Counter(kind for kind in kinds.values() if kind in learned)
    if not found:
        return report
    findings = (replace(one, set_aside=kinds.get(one.id) in found) for one in report.reader.findings)
    told = (
        RejectedKind(kind.contrast, kind.tissue, kind.sign, set_aside, *learned[kind])
        for kind, set_aside in sorted(found.items(), key=lambda item: (item[0].contrast, item[0].tissue, item[0].sign))
        if kind
    )
    return replace(report, reader=replace(report.reader, findings=tuple(findings), rejected_kinds=tuple(told)))
