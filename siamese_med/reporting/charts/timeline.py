"""Time line of one patient in one contrast: change over all visits, against the range of rescans."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.charts.marks import draw_mark
from siamese_med.reporting.charts.plot import AxisRange, Plot, choose_ticks
from siamese_med.reporting.data.verdicts import STATUSES
from siamese_med.study.vocabulary import PairRole, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from siamese_med.reporting.data.report_content import ContrastLine, ReportPair, ReportReference, ReportVisit

TIMELINE_SIZE_PX = (880, 350)
SMALL_TIMELINE_SIZE_PX = (880, 270)
"""Size of each time line where a page has several."""
TIMELINE_MARGINS_PX = (56, 24, 92, 46)
"""Top, right, bottom and left margin."""
MIN_LABEL_DISTANCE_PX = 46
"""Distance of two visits below which the label of the second moves down a line."""


def draw_timeline(
    visits: Sequence[ReportVisit],
    pairs: Sequence[ReportPair],
    reference: ReportReference,
    line: ContrastLine,
    small: bool = False,
) -> Markup:
    """Draw the change (z) of each visit against the one before, and against the first, in one contrast.

    Parameters
    ----------
    visits
        Visits of one patient, at least one. The x axis counts days, or visits where any date is missing. Visits without
        a scan of the contrast are named in grey.
    pairs
        Scored pairs of these visits; only those of the line are drawn.
    reference
        Pairs without change, which set the shaded band.
    line
        The contrast.
    small
        Whether the page has several time lines.

    Returns
    -------
    Markup
        SVG with one mark for each pair, in the shape of its status.
    """
    places = _places(visits)
    mine = [pair for pair in pairs if pair.number in line.pairs]
    shown = [pair for pair in mine if pair.role != PairRole.OTHER]
    plot = Plot(
        _title(line, shown),
        SMALL_TIMELINE_SIZE_PX if small else TIMELINE_SIZE_PX,
        _days(list(places.values())),
        _height(shown, reference),
        TIMELINE_MARGINS_PX,
    )
    _frame(plot, line, reference)
    _visits(plot, visits, places, line)
    _since_first(plot, mine, places)
    for pair in shown:
        if pair.role in (PairRole.NEWEST, PairRole.STEP):
            _pair(plot, pair, places)
    return plot.svg()


def _frame(plot: Plot, line: ContrastLine, reference: ReportReference) -> None:
    low, high = reference.band_z
    plot.box(plot.x, AxisRange(max(low, plot.y.low), high), "band")
    plot.axes("", "", [], choose_ticks(plot.y.low, plot.y.high))
    plot.text("a rescan falls here", plot.left + 6, plot.down(high) - 6, "band-label", anchor="start")
    heading = formatting.sentence_case(f"{line.name}: change (z), each visit against the one before")
    plot.text(heading, plot.left - 8, 22, "label", anchor="start")


def _places(visits: Sequence[ReportVisit]) -> dict[str, float]:
    days = [visit.day for visit in visits]
    if all(day is not None for day in days):
        return {visit.session: float(visit.day or 0) for visit in visits}
    return {visit.session: float(place) for place, visit in enumerate(visits)}


def _days(places: list[float]) -> AxisRange:
    length = max(places) - min(places) or 1.0
    return AxisRange(min(places) - 0.06 * length, max(places) + 0.08 * length)


def _height(pairs: Sequence[ReportPair], reference: ReportReference) -> AxisRange:
    values = [pair.score.change_z for pair in pairs if pair.score.change_z is not None]
    low, high = reference.band_z
    top = max([high * 2, *(value * 1.18 for value in values)])
    return AxisRange(min([low, *values]) - 0.6, max(top, 4.0))


def _title(line: ContrastLine, pairs: Sequence[ReportPair]) -> str:
    changed, uncertain = (sum(pair.verdict == one for pair in pairs) for one in (Verdict.CHANGED, Verdict.UNCERTAIN))
    doubt = f", {uncertain} too uncertain to tell" if uncertain else ""
    return (
        f"Time line of {line.name}, {len(line.sessions)} visits; {changed} of {len(pairs)} pairs changed{doubt}; "
        "figures in the table below"
    )


def _visits(plot: Plot, visits: Sequence[ReportVisit], places: dict[str, float], line: ContrastLine) -> None:
    free = -float(MIN_LABEL_DISTANCE_PX)
    for visit in visits:
        column = plot.across(places[visit.session])
        scanned = visit.session in line.sessions
        if scanned:
            style = "visit scanner" if visit.scanner_changed else "visit"
            plot.line((column, plot.top), (column, plot.bottom + 6), style)
        crowded = column - free < MIN_LABEL_DISTANCE_PX
        row = plot.bottom + (34 if crowded else 20)
        plot.text(visit.session, column, row, "visit-label" if scanned else "tick")
        if visit.scanner_changed and scanned:
            plot.text("other scanner", column, plot.top - 6, "tick")
        free = free if crowded else column
    _intervals(plot, visits, places)


def _intervals(plot: Plot, visits: Sequence[ReportVisit], places: dict[str, float]) -> None:
    row = plot.bottom + 50
    for first, second in pairwise(visits):
        left, right = plot.across(places[first.session]), plot.across(places[second.session])
        plot.line((left + 3, row), (right - 3, row), "interval")
        for end in (left + 3, right - 3):
            plot.line((end, row - 4), (end, row + 4), "interval")
        if first.day is not None and second.day is not None:
            days = second.day - first.day
            plot.text(f"{days} d" if right - left < 80 else f"{days} days", (left + right) / 2, row + 17, "tick")


def _since_first(plot: Plot, pairs: Sequence[ReportPair], places: dict[str, float]) -> None:
    first = min((places[pair.earlier_session] for pair in pairs), default=None)
    if first is None:
        return
    measured = [
        (places[pair.later_session], pair.score.change_z) for pair in pairs if places[pair.earlier_session] == first
    ]
    points = sorted((place, z) for place, z in measured if z is not None and place != first)
    if len(points) > 1:
        plot.curve([(first, 0.0), *points], "since-first")


def _pair(plot: Plot, pair: ReportPair, places: dict[str, float]) -> None:
    status = STATUSES[pair.status]
    column = plot.across(places[pair.later_session])
    row = plot.bottom - 12 if pair.score.change_z is None else plot.down(pair.score.change_z)
    value = "" if pair.score.change_z is None else formatting.measure(pair.score.change_z, 1, ", z ")
    draw_mark(
        plot,
        status.shape,
        column,
        row,
        status.key,
        f"{pair.title}: {status.label}{value}",
    )
    if pair.score.change_z is not None:
        near_end = column > plot.right - 60
        plot.text(
            formatting.measure(pair.score.change_z, 1, "z "),
            column + (-14 if near_end else 14),
            row + 4,
            "value",
            anchor="end" if near_end else "start",
        )
