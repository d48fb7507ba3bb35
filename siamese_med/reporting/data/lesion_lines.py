"""Build the lesions of one patient over all dates from the lesion table: one table a contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from siamese_med.reporting.data.lesion_content import (
    LesionLine,
    LesionLoad,
    ReportLesion,
    ReportLesionMark,
    UnfollowedMask,
)
from siamese_med.reporting.data.report_content import ReportVisit
from siamese_med.reporting.data.volume_response import (
    NOT_EVALUABLE,
    VOLUME_RULES,
    VolumeResponse,
    VolumeRule,
    assess_volume_response,
)
from siamese_med.study.contrasts import describe_contrast
from siamese_med.study.lesion import rank_fate
from siamese_med.study.thresholds import MIN_DAYS_FOR_YEARLY_RATE, MIN_ML_FOR_YEARLY_RATE, VOLUME_CHANGE_Z
from siamese_med.study.vocabulary import LesionFate

if TYPE_CHECKING:
    from siamese_med.study.lesion import LesionState

DAYS_A_YEAR = 365.25
MAX_LOG_FACTOR = math.log(100)
"""More growth than a hundredfold a year is given as that: it says that the lesion was tiny on the first date."""


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


def assess_lesion_loads(line: LesionLine, response: str) -> LesionLine:
    """Assess every lesion load after the first by a rule of volumes: a word of VOLUME_RULES, or `none`."""
    rule = VOLUME_RULES.get(response)
    if rule is None:
        return line
    loads = [replace(load, response=_assess_load(line, n, rule)) for n, load in enumerate(line.loads) if n]
    return replace(line, loads=(*line.loads[:1], *loads), rule=rule)


def _assess_load(line: LesionLine, place: int, rule: VolumeRule) -> VolumeResponse:
    """Assess the load at a place after the first, against those before whose scans show the same lesions."""
    load = line.loads[place]
    new = sum(
        mark.fate == LesionFate.NEW and mark.scan == load.scan for lesion in line.lesions for mark in lesion.marks
    )
    alike = [before for before in line.loads[:place] if not line.find_uncovered(before, load)]
    if line.loads[0] not in alike:
        return VolumeResponse(NOT_EVALUABLE, None, None, None, new)
    return assess_volume_response([(one.volume_ml, one.error_ml) for one in (*alike, load)], rule, new)


def _line(
    contrast: str, states: Sequence[LesionState], visits: Sequence[ReportVisit], places: dict[str, int]
) -> LesionLine:
    told = {state.lesion for state in states if state.lesion is not None and state.fate != LesionFate.NOT_SHOWN}
    followed = [state for state in states if state.lesion in told]  # others are marked on scans that have left
    totals = {state.scan: state for state in states if state.fate == LesionFate.TOTAL}
    scans = sorted(totals, key=lambda scan: (places[scan], scan))
    days = {scan: visits[places[scan]].day for scan in scans}
    joined = {state.other for state in followed if state.fate in (LesionFate.MERGED, LesionFate.SPLIT)}
    lesions = [
        _lesion(
            number, [state for state in followed if state.lesion == number], scans, {} if number in joined else days
        )
        for number in sorted(told)
    ]
    lesions.sort(key=lambda one: (-_change_ml(one), rank_fate(one.fate), one.number))
    line = LesionLine(
        contrast=describe_contrast(contrast),
        loads=tuple(_load(totals[scan], visits[places[scan]], lesions) for scan in scans),
        lesions=tuple(lesions),
        unplaced=tuple(state.session for state in states if state.fate == LesionFate.UNPLACED),
        repeats=tuple(
            UnfollowedMask(state.scan, state.session, state.volume_ml or 0.0, state.error_ml or 0.0)
            for state in states
            if state.fate == LesionFate.REPEAT
        ),
    )
    percent, beyond = _change_of_load(line)
    return replace(line, change_percent=percent, beyond_error=beyond)


def _change_of_load(line: LesionLine) -> tuple[float | None, bool | None]:
    """Percent from the first to the newest load, and whether it is more than both errors explain.

    Both are None where it cannot be said: for one date, with nothing on the first one, or where a scan lacks lesions.
    """
    if len(line.loads) < 2 or not line.loads[0].volume_ml or line.uncovered:
        return None, None
    first, last = line.loads[0], line.loads[-1]
    change = last.volume_ml - first.volume_ml
    return round(100 * change / first.volume_ml, 1), abs(change) > VOLUME_CHANGE_Z * math.hypot(
        first.error_ml, last.error_ml
    )


def _change_ml(lesion: ReportLesion) -> float:
    """Return the change of a lesion's volume from first to last mark; a lesion that merged goes on in another one."""
    if lesion.fate == LesionFate.MERGED:
        return 0.0
    volumes = [mark.volume_ml or 0.0 for mark in lesion.marks if mark.fate != LesionFate.NOT_SHOWN]
    before = 0.0 if lesion.fate == LesionFate.NEW else volumes[0]
    return abs(volumes[-1] - before)


def _load(total: LesionState, visit: ReportVisit, lesions: Sequence[ReportLesion]) -> LesionLoad:
    marks = [mark for lesion in lesions if (mark := lesion.of(total.scan))]
    return LesionLoad(
        scan=total.scan,
        session=visit.session,
        day=visit.day,
        count=sum(mark.volume_ml is not None for mark in marks),
        volume_ml=total.volume_ml or 0.0,
        error_ml=total.error_ml or 0.0,
        not_shown=sum(mark.fate == LesionFate.NOT_SHOWN for mark in marks),
    )


def _lesion(
    number: int, states: Sequence[LesionState], scans: Sequence[str], days: dict[str, int | None]
) -> ReportLesion:
    """One lesion; in a table of an earlier version, a scan that says nothing of it before its end does not show it.

    `days` are those of the scans; without them there is no yearly rate, as for a lesion that took in or lost another.
    """
    known = {state.scan: state for state in states}
    marks, begun = [], False
    for scan in scans:
        state = known.get(scan)
        if state is not None:
            begun = (begun and state.fate == LesionFate.NOT_SHOWN) or state.volume_ml is not None
            marks.append(
                ReportLesionMark(
                    scan, state.fate, state.volume_ml, state.error_ml, state.centre_mm, state.other, state.region
                )
            )
        elif begun:
            marks.append(ReportLesionMark(scan, LesionFate.NOT_SHOWN, None, None, (), None, None))
    fate = states[0].fate_since_first
    yearly = None if fate == LesionFate.STABLE else _percent_a_year(states, days)
    return ReportLesion(number, fate, tuple(marks), yearly)


def _percent_a_year(states: Sequence[LesionState], days: dict[str, int | None]) -> float | None:
    """Change of volume from the first to the last mark, at a constant rate of growth; None where it cannot be said.

    Exchanging the dates turns the yearly factor into its reciprocal.
    """
    marked = [state for state in states if state.volume_ml]
    if len(marked) < 2:
        return None
    first, last = marked[0], marked[-1]
    start, end = days.get(first.scan), days.get(last.scan)
    if not (first.volume_ml and last.volume_ml) or start is None or end is None:
        return None
    if end - start < MIN_DAYS_FOR_YEARLY_RATE or min(first.volume_ml, last.volume_ml) < MIN_ML_FOR_YEARLY_RATE:
        return None
    yearly = math.log(last.volume_ml / first.volume_ml) / ((end - start) / DAYS_A_YEAR)
    return round(100 * (math.exp(min(yearly, MAX_LOG_FACTOR)) - 1), 1)
