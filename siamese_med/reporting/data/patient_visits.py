"""From the tables to one patient's visits and pairs, in the order of time."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from siamese_med.reporting import table_cells
from siamese_med.reporting.data import verdicts
from siamese_med.reporting.data.report_content import (
    NoVerdictReason,
    ReportComponent,
    ReportPair,
    ReportScan,
    ReportVisit,
)
from siamese_med.study.tables import NOT_COMPARABLE_REASONS, SAME_PATIENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    Row = Mapping[str, Any]

PAIR_ROLES = ("newest", "since_first", "step", "other")
"""Order of the pairs on a page."""


def build_visits(scans: Iterable[Row], alignments: Mapping[str, Row]) -> tuple[ReportVisit, ...]:
    """The visits of one patient: by date where all are dated, else by session number."""
    sessions: dict[str, list[Row]] = {}
    for row in scans:
        sessions.setdefault(str(row["session"]), []).append(row)
    dates = {
        session: next((day for row in rows if (day := table_cells.parse_date(row["date"]))), None)
        for session, rows in sessions.items()
    }
    known = sorted(day for day in dates.values() if day)
    order = sorted(sessions, key=_session_number)
    if len(known) == len(sessions):
        order.sort(key=lambda session: str(dates[session]))
    listed = []
    scanners: set[str] = set()
    for session in order:
        here = tuple(
            _scan(row, alignments.get(str(row["id"]), {})) for row in sorted(sessions[session], key=_scan_order)
        )
        now = {scan.scanner for scan in here if scan.scanner and scan.scanner != "unknown"}
        date = dates[session]
        listed.append(
            ReportVisit(
                session=session,
                date=date.isoformat() if date else None,
                day=(date - known[0]).days if date else None,
                scanner_changed=bool(scanners and now and not now & scanners),
                scans=here,
            )
        )
        scanners = now or scanners
    return tuple(listed)


def _session_number(session: str) -> tuple[int, str]:
    digits = re.search(r"\d+", session)
    return (int(digits.group()) if digits else 0, session)


def _scan_order(row: Row) -> str:
    return str(row["id"])


def _scan(row: Row, alignment: Row) -> ReportScan:
    return ReportScan(
        id=str(row["id"]),
        session=str(row["session"]),
        modality=table_cells.parse_text(row["modality"]),
        contrast=table_cells.parse_text(row["contrast"]),
        scanner=table_cells.parse_text(row["scanner"]),
        protocol=table_cells.parse_text(row["protocol"]),
        shape=table_cells.parse_numbers(row["shape"]),
        spacing_mm=table_cells.parse_numbers(row["spacing_mm"]),
        flags=table_cells.parse_words(row["flags"]),
        aligned=table_cells.parse_flag(alignment.get("ok")),
        alignment_quality=table_cells.parse_number(alignment.get("quality")),
        sha256=table_cells.parse_text(row["sha256"]),
    )


def build_report_pairs(
    scores: Iterable[Row], timeline: Sequence[ReportVisit], known: AbstractSet[str], doubtful: AbstractSet[str]
) -> tuple[ReportPair, ...]:
    """The same-patient pairs of one patient, numbered in the order in which the page shows them.

    `known`: scans whose identity the network can judge; `doubtful`: scans under alarm.
    """
    sessions = {scan.id: place for place, visit in enumerate(timeline) for scan in visit.scans}
    placed = [
        (sessions[str(row["scan_a"])], sessions[str(row["scan_b"])], row)
        for row in scores
        if row["kind"] in SAME_PATIENT and _scans(row) <= sessions.keys()
    ]
    ends = {(first, last) for first, last, _ in placed if first != last}
    roles = _roles(ends)
    placed.sort(key=lambda item: _page_order(roles, *item))
    return tuple(
        _pair(
            row,
            number,
            roles.get((first, last), "other"),
            (timeline[first], timeline[last]),
            identity_judged=_scans(row) <= known,
            doubtful=not doubtful.isdisjoint(_scans(row)),
        )
        for number, (first, last, row) in enumerate(placed, start=1)
    )


def _roles(ends: set[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """The role of each (earlier, later) pair of visit places."""
    if not ends:
        return {}
    visited = sorted({place for pair in ends for place in pair})
    roles = {step: "step" for step in pairwise(visited) if step in ends}
    newest = max(last for _, last in ends)
    firsts = sorted(first for first, last in ends if last == newest)
    if firsts:
        roles[firsts[0], newest] = "since_first"
        roles[firsts[-1], newest] = "newest"
    return roles


def _page_order(
    roles: dict[tuple[int, int], str], first: int, last: int, row: Row
) -> tuple[int, int, int, int, str, str]:
    comparable = 0 if table_cells.parse_flag(row["comparable"]) else 1
    role = PAIR_ROLES.index(roles.get((first, last), "other"))
    return role, -last, -first, comparable, str(row["scan_a"]), str(row["scan_b"])


def _scans(row: Row) -> set[str]:
    return {str(row["scan_a"]), str(row["scan_b"])}


def _pair(
    row: Row, number: int, role: str, ends: tuple[ReportVisit, ReportVisit], *, identity_judged: bool, doubtful: bool
) -> ReportPair:
    reasons = tuple(
        NoVerdictReason(word, NOT_COMPARABLE_REASONS.get(word, word.replace("_", " ")))
        for word in table_cells.parse_words(row["reasons"])
    )
    verdict = table_cells.parse_text(row["verdict"]) or "not_comparable"
    return ReportPair(
        number=number,
        role=role,
        earlier=str(row["scan_a"]),
        later=str(row["scan_b"]),
        earlier_session=ends[0].session,
        later_session=ends[1].session,
        interval_days=table_cells.parse_integer(row["interval_days"]),
        kind=table_cells.parse_text(row["kind"]),
        split=table_cells.parse_text(row["split"]),
        verdict=verdict,
        status=verdicts.choose_pair_status(verdict, doubtful),
        reasons=reasons,
        identity_judged=identity_judged,
        similarity=table_cells.parse_number(row["similarity"]),
        map=table_cells.parse_text(row["map"]),
        pictures=table_cells.parse_text(row["pictures"]),
        distance=table_cells.parse_number(row["distance"]),
        change_z=table_cells.parse_number(row["change_z"]),
        change_p=table_cells.parse_number(row["change_p"]),
        change_p_adjusted=table_cells.parse_number(row.get("change_p_adjusted")),
        change_sign=table_cells.parse_number(row["change_sign"]),
        volume_ml=table_cells.parse_number(row["volume_ml"]),
        growth_ml=table_cells.parse_number(row.get("growth_ml")),
        growth_p=table_cells.parse_number(row.get("growth_p")),
        smallest_detectable_ml=table_cells.parse_number(row["smallest_detectable_ml"]),
        stratum=_stratum(row.get("reference")),
        transform=tuple(table_cells.parse_numbers(line) for line in table_cells.parse_items(row.get("transform"))),
        components=tuple(_component(part) for part in _records(row.get("components"))),
        ncc=table_cells.parse_number(row["ncc"]),
        ncc_highpass=table_cells.parse_number(row["ncc_highpass"]),
        mutual_information=table_cells.parse_number(row["mutual_information"]),
        ssim=table_cells.parse_number(row.get("ssim")),
        pair_quality=table_cells.parse_number(row["pair_quality"]),
    )


def _stratum(cell: Any) -> str | None:
    return table_cells.parse_text(cell.get("stratum")) if isinstance(cell, dict) else None


def _records(cell: Any) -> list[Row]:
    """The objects of a list, tuple or array; none where there is no such thing."""
    return [one for one in table_cells.parse_items(cell) if isinstance(one, dict)]


def _component(part: Row) -> ReportComponent:
    return ReportComponent(
        kind=table_cells.parse_text(part.get("kind")) or "unknown",
        volume_ml=table_cells.parse_number(part.get("volume_ml")),
        sign=table_cells.parse_integer(part.get("sign")),
        p=table_cells.parse_number(part.get("p")),
        position_mm=table_cells.parse_numbers(part.get("position_mm")),
        earlier_mm=table_cells.parse_numbers(part.get("earlier_mm")),
    )
