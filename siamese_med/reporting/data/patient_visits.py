"""Build one patient's visits and pairs from the tables, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from siamese_med.reporting.data import verdicts
from siamese_med.reporting.data.report_content import (
    UNLIKE_REASONS,
    NoVerdictReason,
    ReportPair,
    ReportScan,
    ReportVisit,
)
from siamese_med.study import table_cells
from siamese_med.study.contrasts import describe_contrast, get_contrast_sort_key, join_words, sort_contrast_names
from siamese_med.study.pair_score import PairScore
from siamese_med.study.visit_order import find_visit_dates, order_visits
from siamese_med.study.vocabulary import SAME_PATIENT, UNKNOWN, ComponentKind, PairRole, Verdict, explain_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    Row = Mapping[str, object]

PAIR_ROLES = tuple(str(role) for role in PairRole)
"""Order of the pairs on a page."""


def build_visits(scans: Iterable[Row], alignments: Mapping[str, Row]) -> tuple[ReportVisit, ...]:
    """Build the visits of one patient in the order of `study.visit_order`.

    Parameters
    ----------
    scans
        The patient's rows of the scan table (tables.SCAN_COLUMNS).
    alignments
        Rows of the alignment table by scan id; a scan without one counts as not aligned.

    Returns
    -------
    tuple of ReportVisit
        `day` counts from the first dated visit, None for a visit without a date. `scanner_changed` is true where the
        visit has no scanner in common with the last visit before it whose scanner is known.
    """
    sessions: dict[str, list[Row]] = {}
    for row in scans:
        sessions.setdefault(str(row["session"]), []).append(row)
    days = find_visit_dates((str(row["session"]), _read_day(row)) for rows in sessions.values() for row in rows)
    dates = {session: table_cells.parse_date(day) for session, day in days.items()}
    first = min((day for day in dates.values() if day), default=None)
    listed = []
    scanners: set[str] = set()
    for session in order_visits(days):
        here = tuple(
            _scan(row, alignments.get(str(row["id"]), {})) for row in sorted(sessions[session], key=_scan_order)
        )
        now = {scan.scanner for scan in here if scan.scanner and scan.scanner != UNKNOWN}
        day = dates[session]
        listed.append(
            ReportVisit(
                session=session,
                date=day.isoformat() if day else None,
                day=(day - first).days if day and first else None,
                scanner_changed=bool(scanners and now and not now & scanners),
                scans=here,
            )
        )
        scanners = now or scanners
    return tuple(listed)


def _read_day(row: Row) -> str | None:
    day = table_cells.parse_date(row["date"])
    return day.isoformat() if day else None


def _scan_order(row: Row) -> str:
    return str(row["id"])


def _scan(row: Row, alignment: Row) -> ReportScan:
    return ReportScan(
        id=str(row["id"]),
        session=str(row["session"]),
        modality=table_cells.parse_text(row["modality"]),
        contrast=table_cells.parse_text(row["contrast"]),
        contrast_source=table_cells.parse_text(row.get("contrast_source")),
        contrast_confidence=table_cells.parse_number(row.get("contrast_confidence")),
        scanner=table_cells.parse_text(row["scanner"]),
        protocol=table_cells.parse_text(row["protocol"]),
        shape=table_cells.parse_numbers(row["shape"]),
        spacing_mm=table_cells.parse_numbers(row["spacing_mm"]),
        flags=table_cells.parse_words(row["flags"]),
        aligned=table_cells.parse_flag(alignment.get("ok")),
        alignment_quality=table_cells.parse_number(alignment.get("quality")),
        brain_ml=table_cells.parse_number(alignment.get("brain_ml")),
        ventricles_ml=table_cells.parse_number(alignment.get("ventricles_ml")),
        sha256=table_cells.parse_text(row["sha256"]),
    )


@dataclass(frozen=True)
class _PlacedPair:
    """A pair with the places of its visits in the patient's time line, and what its scans are."""

    first: int
    last: int
    scans: tuple[ReportScan, ReportScan]
    score: PairScore

    @property
    def unlike(self) -> bool:
        """Whether the scans are of different kinds."""
        return not UNLIKE_REASONS.isdisjoint(self.score.reasons)

    @property
    def contrast(self) -> str:
        """The contrasts of both scans in words: the time line that the pair is on."""
        return join_words(sort_contrast_names(describe_contrast(scan.contrast, scan.modality) for scan in self.scans))


def build_report_pairs(
    scores: Iterable[PairScore], timeline: Sequence[ReportVisit], known: AbstractSet[str], doubtful: AbstractSet[str]
) -> tuple[ReportPair, ...]:
    """Build the pairs of one patient, numbered from 1 in the order in which the page shows them.

    Each contrast has a time line of its own. Pairs are sorted by role (PAIR_ROLES), then the latest visits come first;
    of the same two visits, changed pairs first, then uncertain ones, and those without a verdict last; then by
    contrast. Pairs of different contrasts come after all others.

    Parameters
    ----------
    scores
        Rows of the score table; pairs of two patients and of unknown scans are left out.
    timeline
        The patient's visits, in the order of time.
    known
        Ids of scans whose identity the network can judge.
    doubtful
        Ids of scans under a wrong-patient alarm; their pairs get the status `wrong_patient`.
    """
    placed = _place_pairs(scores, timeline)
    lines: dict[str, set[tuple[int, int]]] = {}
    for pair in placed:
        if not pair.unlike and pair.first != pair.last:
            lines.setdefault(pair.contrast, set()).add((pair.first, pair.last))
    roles = {name: _roles(ends, len(timeline) - 1) for name, ends in lines.items()}

    def role(pair: _PlacedPair) -> str:
        other = str(PairRole.OTHER)
        return other if pair.unlike else roles.get(pair.contrast, {}).get((pair.first, pair.last), other)

    placed.sort(key=lambda pair: _page_order(role(pair), pair))
    return tuple(
        _report_pair(number, role(pair), pair, timeline, known, doubtful) for number, pair in enumerate(placed, start=1)
    )


def _place_pairs(scores: Iterable[PairScore], timeline: Sequence[ReportVisit]) -> list[_PlacedPair]:
    scans = {scan.id: (place, scan) for place, visit in enumerate(timeline) for scan in visit.scans}
    placed = []
    for score in scores:
        if score.kind in SAME_PATIENT and _scans(score) <= scans.keys():
            (first, earlier), (last, later) = scans[score.scan_a], scans[score.scan_b]
            placed.append(_PlacedPair(first, last, (earlier, later), score))
    return placed


def _report_pair(
    number: int,
    role: str,
    pair: _PlacedPair,
    timeline: Sequence[ReportVisit],
    known: AbstractSet[str],
    doubtful: AbstractSet[str],
) -> ReportPair:
    score, (earlier, later) = pair.score, pair.scans
    return ReportPair(
        number=number,
        role=role,
        score=score,
        earlier_session=timeline[pair.first].session,
        later_session=timeline[pair.last].session,
        earlier_contrast=earlier.contrast,
        later_contrast=later.contrast,
        contrast=pair.contrast,
        status=verdicts.choose_pair_status(score.verdict, not doubtful.isdisjoint(_scans(score))),
        reasons=tuple(NoVerdictReason(str(word), explain_reason(word)) for word in score.reasons),
        identity_judged=_scans(score) <= known,
        brighter_ml=_sum_parts(score, 1),
        darker_ml=_sum_parts(score, -1),
    )


def _sum_parts(score: PairScore, sign: int) -> float:
    """Volume in ml of the parts of one sign that alone are beyond a rescan."""
    parts = [part for part in score.components if part.sign == sign and part.kind != ComponentKind.MAY_BE_CHANCE]
    return round(sum(part.volume_ml or 0.0 for part in parts), 4)


def _roles(ends: set[tuple[int, int]], newest: int) -> dict[tuple[int, int], str]:
    """The role of each (earlier, later) pair of visit places of one contrast; `newest` is the patient's last visit."""
    visited = sorted({place for pair in ends for place in pair})
    roles = {step: str(PairRole.STEP) for step in pairwise(visited) if step in ends}
    firsts = sorted(first for first, last in ends if last == newest)
    if firsts:
        roles[firsts[0], newest] = str(PairRole.SINCE_FIRST)
        roles[firsts[-1], newest] = str(PairRole.NEWEST)
    return roles


def _page_order(role: str, pair: _PlacedPair) -> tuple[bool, int, int, int, int, tuple[int, str], str, str]:
    score = pair.score
    order = (Verdict.CHANGED, Verdict.UNCERTAIN, Verdict.NO_CHANGE)
    return (
        pair.unlike,
        PAIR_ROLES.index(role),
        -pair.last,
        -pair.first,
        order.index(score.verdict) if score.verdict in order else len(order),
        get_contrast_sort_key(pair.contrast),
        score.scan_a,
        score.scan_b,
    )


def _scans(score: PairScore) -> set[str]:
    return {score.scan_a, score.scan_b}
