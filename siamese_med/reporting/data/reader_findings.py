"""List what a reader can answer to on a patient's page, with the answers that the study keeps."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from siamese_med.reporting.data.reader_content import ReaderAnswers, ReportFinding, ReportScanRating
from siamese_med.study.contrasts import describe_contrast
from siamese_med.study.reader_answers import match_answers
from siamese_med.study.vocabulary import ComponentKind, PairRole, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siamese_med.reporting.data.findings_text import FindingsSource
    from siamese_med.reporting.data.lesion_content import LesionLine
    from siamese_med.reporting.data.report_content import ReportPair, ReportVisit
    from siamese_med.study.reader_answers import AnsweredFinding, RatedScan, ReaderAnswerFile


def list_reader_answers(shown: FindingsSource, stored: ReaderAnswerFile | None) -> ReaderAnswers:
    """List the findings and scans of a page.

    Findings are the parts of pairs that the page calls changed, but for those no stronger than a rescan, and all marked
    lesions.

    Parameters
    ----------
    shown
        What the page shows.
    stored
        What the reader has answered so far; None for nothing.
    """
    findings = _unique([*_parts(shown.pairs), *_lesions(shown.lesions)])
    answers = match_answers([one.id for one in findings], {one.id: one for one in stored.findings} if stored else {})
    rated = {one.id: one for one in stored.scans} if stored else {}
    return ReaderAnswers(
        tuple(_answered(one, answers.get(one.id)) for one in findings),
        tuple(_rated(one, rated.get(one.id)) for one in _scans(shown.visits)),
    )


def _answered(finding: ReportFinding, said: AnsweredFinding | None) -> ReportFinding:
    return replace(finding, answer=said.answer and str(said.answer), remark=said.remark) if said else finding


def _rated(scan: ReportScanRating, said: RatedScan | None) -> ReportScanRating:
    return replace(scan, quality=said.quality and str(said.quality), remark=said.remark) if said else scan


def _parts(pairs: Iterable[ReportPair]) -> Iterator[ReportFinding]:
    for pair in pairs:
        if pair.role == PairRole.OTHER or pair.status != Verdict.CHANGED:
            continue
        for number, part in enumerate(pair.score.components, start=1):
            place = [value for value in part.earlier_mm if value is not None]
            if part.kind != ComponentKind.MAY_BE_CHANCE and len(place) == 3:
                name = make_part_id(pair.earlier, pair.later, place)
                yield ReportFinding(name, pair.contrast, part.kind, pair.number, number, None, None, "")


def make_part_id(earlier: str, later: str, place_mm: Sequence[float]) -> str:
    """Make the id of a part of a change map from its pair and place.

    Parameters
    ----------
    earlier, later
        Ids of the scans.
    place_mm
        Its centre, RAS+ mm of the earlier scan.

    Examples
    --------
    >>> make_part_id("sub-1_ses-1_FLAIR", "sub-1_ses-2_FLAIR", [11.2, -24.0, -0.3])
    'ses-1_FLAIR..ses-2_FLAIR@11,-24,0'
    """
    scans = "..".join(scan.partition("_")[2] or scan for scan in (earlier, later))
    return f"{scans}@{','.join(str(round(value)) for value in place_mm)}"


def _lesions(lines: Iterable[LesionLine]) -> Iterator[ReportFinding]:
    for line in lines:
        contrast = re.sub(r"[^A-Za-z0-9]+", "-", line.contrast).strip("-")
        for lesion in line.lesions:
            name = f"lesion-{contrast}-{lesion.number}"
            yield ReportFinding(name, line.contrast, lesion.fate, None, None, lesion.number, None, "")


def _scans(visits: Iterable[ReportVisit]) -> Iterator[ReportScanRating]:
    for visit in visits:
        for scan in visit.scans:
            contrast = describe_contrast(scan.contrast, scan.modality)
            yield ReportScanRating(scan.id, visit.session, contrast, None, "")


def _unique(findings: Iterable[ReportFinding]) -> list[ReportFinding]:
    """The findings with ids of their own: of two at one place, such as a rim and its core, the later one is marked."""
    seen: dict[str, int] = {}
    listed = []
    for one in findings:
        seen[one.id] = seen.get(one.id, 0) + 1
        listed.append(one if seen[one.id] == 1 else replace(one, id=f"{one.id}+{seen[one.id]}"))
    return listed
