"""Small chart of one pair's change among the pairs without change, as wide as a column of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting import formatting
from siamese_med.reporting.charts.marks import draw_mark
from siamese_med.reporting.charts.plot import TICK_STYLE, AxisRange, Plot
from siamese_med.reporting.data.verdicts import STATUSES

if TYPE_CHECKING:
    from markupsafe import Markup

    from siamese_med.reporting.data.report_content import ReportPair, ReportReference, ReportStratum

STRIP_SIZE_PX = (360, 74)
STRIP_MARGINS_PX = (18, 14, 22, 14)
"""Top, right, bottom and left margin."""


def draw_change_strip(pair: ReportPair, reference: ReportReference) -> Markup:
    """Draw one pair's change (z) among the pairs without change.

    The pairs without change are bars, and the band into which most of them fall is shaded.

    Parameters
    ----------
    pair
        Pair to mark; without a z nothing is marked.
    reference
        Pairs without change; those that are comparable with the pair are shown.
    """
    z = pair.score.change_z if pair.score.change_z is not None else 0.0
    known = reference.of(pair)
    low, high = known.band_z
    reach = max([4.0, high * 1.3, z * 1.1, *known.values_z[-1:]])
    plot = Plot(
        _title(pair),
        STRIP_SIZE_PX,
        AxisRange(min([-3.0, low, z, *known.values_z[:1]]), reach),
        AxisRange(0, 1),
        STRIP_MARGINS_PX,
    )
    plot.box(AxisRange(low, high), AxisRange(0, 1), "band")
    _bars(plot, known)
    plot.line((plot.left, plot.bottom), (plot.right, plot.bottom), "axis")
    plot.text("0", plot.across(0), plot.bottom + 16, TICK_STYLE)
    plot.text(f"{high:.1f}", plot.across(high), plot.bottom + 16)
    if pair.score.change_z is not None:
        _needle(plot, pair, z)
    return plot.svg()


def _title(pair: ReportPair) -> str:
    z = formatting.fixed(pair.score.change_z, 1)
    return f"{pair.title}: change z {z} among the pairs without change"


def _bars(plot: Plot, known: ReportStratum) -> None:
    if not known.values_z:
        return
    counts, edges = np.histogram(known.values_z, bins=24, range=(plot.x.low, plot.x.high))
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        if count:
            plot.box(AxisRange(float(left), float(right)), AxisRange(0, float(count / counts.max())), "bar")


def _needle(plot: Plot, pair: ReportPair, z: float) -> None:
    status = STATUSES[pair.status]
    column = plot.across(z)
    plot.line((column, plot.top), (column, plot.bottom), f"needle {status.key}")
    draw_mark(plot, status.shape, column, plot.top - 4, status.key, status.label)
