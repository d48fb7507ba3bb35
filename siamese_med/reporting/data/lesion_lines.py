"""Build the lesions of one patient over all dates from the lesion table: one table a contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from siamese_med.reporting.data.report_content import LesionLine, LesionLoad, LesionMark, ReportLesion, ReportVisit
from siamese_med.study.contrasts import describe_contrast
from siamese_med.study.thresholds import MIN_DAYS_FOR_YEARLY_RATE
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from siamese_med.study.lesion import LesionState

DAYS_A_YEAR = 365.25
FATE_ORDER = (
    LesionFate.NEW,
    LesionFate.RETURNED,
    LesionFate.ENLARGING,
    LesionFate.SPLIT,
    LesionFate.SHRINKING,
    LesionFate.VANISHED,
    LesionFate.MERGED,
    LesionFate.FIRST,
    LesionFate.STABLE,
)
"""Order of the lesions of a table by what became of them since the first date."""


def build_lesion_lines(states: Sequence[LesionState], visits: Sequence[ReportVisit]) -> tuple[LesionLine, ...]:
    """Build the table of lesions of each contrast, in the order of their names.

    Parameters
    ----------
    states
        The patient's rows of the lesion table, each lesion's in the order of time.
    visits
        The patient's visits in the order of time; rows of scans that they lack are left out.
    """
    places = {scan.id: place for place, visit in enumerate(visits) for scan in visit.scans}
    known = [state for state in states if state.scan in places]
    contrasts = sorted({state.contrast for state in known})
    return tuple(_line(one, [state for state in known if state.contrast == one], visits, places) for one in contrasts)


def _line(
    contrast: str, states: Sequence[LesionState], visits: Sequence[ReportVisit], places: dict[str, int]
) -> LesionLine:
    followed = [state for state in states if state.lesion is not None]
    scans = sorted({state.scan for state in followed}, key=lambda scan: (places[scan], scan))
    days = {scan: visits[places[scan]].day for scan in scans}
    lesions = [
        _lesion(number, [state for state in followed if state.lesion == number], days)
        for number in sorted({state.lesion for state in followed if state.lesion is not None})
    ]
    lesions.sort(key=lambda one: (_rank(one.fate), -max(mark.volume_ml or 0.0 for mark in one.marks), one.number))
    return LesionLine(
        contrast=describe_contrast(contrast),
        loads=tuple(_load(scan, visits[places[scan]], followed) for scan in scans),
        lesions=tuple(lesions),
        unplaced=tuple(state.session for state in states if state.lesion is None),
    )


def _rank(fate: str) -> int:
    found = LesionFate.find_member(fate)
    return FATE_ORDER.index(found) if found in FATE_ORDER else len(FATE_ORDER)


def _load(scan: str, visit: ReportVisit, states: Sequence[LesionState]) -> LesionLoad:
    here = [state for state in states if state.scan == scan and state.volume_ml is not None]
    return LesionLoad(
        scan=scan,
        session=visit.session,
        day=visit.day,
        count=len(here),
        volume_ml=round(sum(state.volume_ml or 0.0 for state in here), 4),
        error_ml=round(math.hypot(*(state.error_ml or 0.0 for state in here)), 4),
    )


def _lesion(number: int, states: Sequence[LesionState], days: dict[str, int | None]) -> ReportLesion:
    marks = tuple(
        LesionMark(
            scan=state.scan,
            fate=state.fate,
            volume_ml=state.volume_ml,
            error_ml=state.error_ml,
            centre_mm=state.centre_mm,
            other=state.other,
        )
        for state in states
    )
    return ReportLesion(number, states[0].fate_since_first, marks, _percent_a_year(states, days))


def _percent_a_year(states: Sequence[LesionState], days: dict[str, int | None]) -> float | None:
    """Change of volume from the first to the last mark, as a share of their mean; None where it cannot be said.

    Exchanging the dates changes the sign alone.
    """
    marked = [state for state in states if state.volume_ml]
    first, last = marked[0], marked[-1]
    start, end = days[first.scan], days[last.scan]
    if not (first.volume_ml and last.volume_ml) or start is None or end is None:
        return None
    if end - start < MIN_DAYS_FOR_YEARLY_RATE:
        return None
    mean = (first.volume_ml + last.volume_ml) / 2
    return round(100 * (last.volume_ml - first.volume_ml) / mean / ((end - start) / DAYS_A_YEAR), 1)
