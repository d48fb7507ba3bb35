"""Build the findings of one patient over all dates from the parts of the pairs: one table a contrast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from siamese_med.reporting.data.finding_content import FindingLine, FindingMark, TrackedFinding
from siamese_med.reporting.data.report_content import ReportPair, ReportVisit
from siamese_med.study.component import list_two_way_findings
from siamese_med.study.contrasts import sort_contrast_names
from siamese_med.study.vocabulary import PairRole, Verdict


def build_finding_lines(visits: Sequence[ReportVisit], pairs: Sequence[ReportPair]) -> tuple[FindingLine, ...]:
    """Build a table of findings for each contrast in which something was found and that has more than one step.

    A step leads from one visit to the next. Two visits have one pair, whose parts are listed with it.

    Parameters
    ----------
    visits, pairs
        Of the patient, as `patient_visits` built them.
    """
    order = {visit.session: place for place, visit in enumerate(visits)}
    between = [pair for pair in pairs if not pair.unlike and pair.earlier_session != pair.later_session]
    built = [
        _line(
            contrast,
            sorted((one for one in between if one.contrast == contrast), key=lambda one: order[one.earlier_session]),
        )
        for contrast in sort_contrast_names({pair.contrast for pair in between})
    ]
    return tuple(line for line in built if line.findings and len(line.steps) > 1)


def list_two_way_parts(pair: ReportPair) -> list[tuple[int, ...]]:
    """List the parts of each finding of a changed pair that is brighter and darker, see `component`."""
    return list_two_way_findings(pair.score.components) if pair.status == Verdict.CHANGED else []


def _line(contrast: str, pairs: Sequence[ReportPair]) -> FindingLine:
    """The findings of one contrast; its pairs are in the order of their earlier visits."""
    steps = [pair for pair in pairs if pair.role in (PairRole.STEP, PairRole.NEWEST)]
    since_first = next((pair for pair in pairs if pair.role == PairRole.SINCE_FIRST), None)
    others = [pair for pair in _changed(pairs) if pair not in steps and pair is not since_first]
    shown = [*others, *steps, *([since_first] if since_first else [])]
    numbers = {part.finding for pair in _changed(shown) for part in pair.score.components if part.finding is not None}
    findings = [_finding(number, shown) for number in sorted(numbers)]
    places = {pair.number: place for place, pair in enumerate(shown)}
    findings.sort(key=lambda one: (-max(places[mark.pair] for mark in one.marks), one.number))
    marked = {mark.pair for finding in findings for mark in finding.marks}
    return FindingLine(
        contrast=contrast,
        steps=tuple(pair.number for pair in steps),
        since_first=since_first.number if since_first else None,
        others=tuple(pair.number for pair in others if pair.number in marked),
        findings=tuple(findings),
    )


def _changed(pairs: Iterable[ReportPair]) -> list[ReportPair]:
    """The pairs whose parts the page lists; where a scan may be another person's, nothing is found."""
    return [pair for pair in pairs if pair.status == Verdict.CHANGED]


def _finding(number: int, pairs: Sequence[ReportPair]) -> TrackedFinding:
    marks = [_mark(number, pair) for pair in _changed(pairs)]
    return TrackedFinding(number, tuple(mark for mark in marks if mark is not None))


def _mark(number: int, pair: ReportPair) -> FindingMark | None:
    parts = [(n, part) for n, part in enumerate(pair.score.components, start=1) if part.finding == number]
    if not parts:
        return None
    volume_ml = sum(part.volume_ml or 0.0 for _, part in parts)
    return FindingMark(pair.number, parts[0][1].kind, round(volume_ml, 4), tuple(n for n, _ in parts))
