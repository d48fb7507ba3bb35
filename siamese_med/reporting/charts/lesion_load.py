"""The volume of all marked lesions of one contrast over time, with its error."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.charts.marks import MARK_SHAPES
from siamese_med.reporting.charts.plot import AxisRange, Plot, choose_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from siamese_med.reporting.data.lesion_content import LesionLine

MIN_DATES = 3
"""Fewer dates are read off the table."""
LOAD_SIZE_PX = (880, 230)
LOAD_MARGINS_PX = (46, 24, 34, 56)
"""Top, right, bottom and left margin."""


def draw_lesion_load(line: LesionLine) -> Markup | None:
    """Draw the lesion load in ml of each date with one standard deviation; None for fewer than MIN_DATES dates.

    The x axis counts days, or dates where the day of any is not known. No line joins dates that cannot be compared.

    Examples
    --------
    >>> from siamese_med.reporting.data.lesion_content import LesionLine, LesionLoad
    >>> loads = [LesionLoad(f"s{n}", f"ses-{n}", 100 * n, 1, 1.0 + n, 0.1) for n in range(3)]
    >>> "2.00 ml" in draw_lesion_load(LesionLine("FLAIR", tuple(loads), (), ()))
    True
    """
    if len(line.loads) < MIN_DATES:
        return None
    days = [load.day for load in line.loads]
    places = [float(n if None in days else day or 0) for n, day in enumerate(days)]
    length = max(places) - min(places) or 1.0
    top = max(load.volume_ml + load.error_ml for load in line.loads) or 1.0
    plot = Plot(
        f"Lesion load in {line.contrast} on {len(places)} dates; figures in the last line of the table",
        LOAD_SIZE_PX,
        AxisRange(min(places) - 0.06 * length, max(places) + 0.08 * length),
        AxisRange(0.0, 1.2 * top),
        LOAD_MARGINS_PX,
    )
    plot.axes("", "", [], choose_ticks(0.0, 1.2 * top, 4))
    heading = formatting.sentence_case(f"{line.contrast}: all that is marked, in ml, ± its standard error")
    plot.text(heading, plot.left - 8, 22, "label", anchor="start")
    for stretch in _split_where_coverage_differs(line, places):
        plot.curve(stretch, "series s0")
    for place, load in zip(places, line.loads, strict=True):
        column, row = plot.across(place), plot.down(load.volume_ml)
        low, high = (plot.down(load.volume_ml + way * load.error_ml) for way in (-1, 1))
        plot.line((column, low), (column, high), "whisker s0")
        plot.add("path", "point s0", d=MARK_SHAPES["circle"], transform=f"translate({column},{row})")
        plot.text(formatting.measure(load.volume_ml, after=" ml"), column, high - 12, "value")
        plot.text(load.session, column, plot.bottom + 20, "visit-label")
    return plot.svg()


def _split_where_coverage_differs(line: LesionLine, places: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Split the points of the curve between dates whose scans do not show the same lesions."""
    points = [(place, load.volume_ml) for place, load in zip(places, line.loads, strict=True)]
    stretches = [points[:1]]
    for (before, load), point in zip(pairwise(line.loads), points[1:], strict=True):
        if line.find_uncovered(before, load):
            stretches.append([])
        stretches[-1].append(point)
    return stretches
