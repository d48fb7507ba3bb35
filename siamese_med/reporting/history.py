"""From the tables to one patient's visits and pairs, in the order of time."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from siamese_med import cells
from siamese_med.records import NOT_COMPARABLE, SAME_PATIENT
from siamese_med.reporting import verdicts
from siamese_med.reporting.content import Component, Pair, Reason, Scan, Visit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    Row = Mapping[str, Any]

ROLES = ("newest", "since_first", "step", "other")
"""Order of the pairs on a page."""


def visits(scans: Iterable[Row], alignments: Mapping[str, Row]) -> tuple[Visit, ...]:
    """The visits of one patient: by date where all are dated, else by session number."""
    sessions: dict[str, list[Row]] = {}
    for row in scans:
        sessions.setdefault(str(row["session"]), []).append(row)
    dates = {
        session: next((day for row in rows if (day := cells.day(row["date"]))), None)
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
            Visit(
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


def _scan(row: Row, alignment: Row) -> Scan:
    return Scan(
        id=str(row["id"]),
        session=str(row["session"]),
        modality=cells.text(row["modality"]),
        contrast=cells.text(row["contrast"]),
        scanner=cells.text(row["scanner"]),
        protocol=cells.text(row["protocol"]),
        shape=cells.numbers(row["shape"]),
        spacing_mm=cells.numbers(row["spacing_mm"]),
        flags=cells.words(row["flags"]),
        aligned=cells.truth(alignment.get("ok")),
        alignment_quality=cells.number(alignment.get("quality")),
        sha256=cells.text(row["sha256"]),
    )


def pairs(
    scores: Iterable[Row], timeline: Sequence[Visit], known: AbstractSet[str], doubtful: AbstractSet[str]
) -> tuple[Pair, ...]:
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
    comparable = 0 if cells.truth(row["comparable"]) else 1
    role = ROLES.index(roles.get((first, last), "other"))
    return role, -last, -first, comparable, str(row["scan_a"]), str(row["scan_b"])


def _scans(row: Row) -> set[str]:
    return {str(row["scan_a"]), str(row["scan_b"])}


def _pair(
    row: Row, number: int, role: str, ends: tuple[Visit, Visit], *, identity_judged: bool, doubtful: bool
) -> Pair:
    reasons = tuple(
        Reason(word, NOT_COMPARABLE.get(word, word.replace("_", " "))) for word in cells.words(row["reasons"])
    )
    verdict = cells.text(row["verdict"]) or "not_comparable"
    return Pair(
        number=number,
        role=role,
        earlier=str(row["scan_a"]),
        later=str(row["scan_b"]),
        earlier_session=ends[0].session,
        later_session=ends[1].session,
        interval_days=cells.whole(row["interval_days"]),
        kind=cells.text(row["kind"]),
        split=cells.text(row["split"]),
        verdict=verdict,
        status=verdicts.of_pair(verdict, doubtful),
        reasons=reasons,
        identity_judged=identity_judged,
        similarity=cells.number(row["similarity"]),
        map=cells.text(row["map"]),
        pictures=cells.text(row["pictures"]),
        distance=cells.number(row["distance"]),
        change_z=cells.number(row["change_z"]),
        change_p=cells.number(row["change_p"]),
        change_p_adjusted=cells.number(row.get("change_p_adjusted")),
        change_sign=cells.number(row["change_sign"]),
        volume_ml=cells.number(row["volume_ml"]),
        growth_ml=cells.number(row.get("growth_ml")),
        growth_p=cells.number(row.get("growth_p")),
        smallest_detectable_ml=cells.number(row["smallest_detectable_ml"]),
        stratum=_stratum(row.get("reference")),
        transform=tuple(cells.numbers(line) for line in cells.lines(row.get("transform"))),
        components=tuple(_component(part) for part in _records(row.get("components"))),
        ncc=cells.number(row["ncc"]),
        ncc_highpass=cells.number(row["ncc_highpass"]),
        mutual_information=cells.number(row["mutual_information"]),
        ssim=cells.number(row.get("ssim")),
        pair_quality=cells.number(row["pair_quality"]),
    )


def _stratum(cell: Any) -> str | None:
    return cells.text(cell.get("stratum")) if isinstance(cell, dict) else None


def _records(cell: Any) -> list[Row]:
    """The objects of a list, tuple or array; none where there is no such thing."""
    return [one for one in cells.lines(cell) if isinstance(one, dict)]


def _component(part: Row) -> Component:
    return Component(
        kind=cells.text(part.get("kind")) or "unknown",
        volume_ml=cells.number(part.get("volume_ml")),
        sign=cells.whole(part.get("sign")),
        p=cells.number(part.get("p")),
        position_mm=cells.numbers(part.get("position_mm")),
        earlier_mm=cells.numbers(part.get("earlier_mm")),
    )
