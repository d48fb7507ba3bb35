"""Chart of values with their ranges, one for each row, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting.charts.marks import MARK_SHAPES
from siamese_med.reporting.charts.plot import AxisRange, Plot, choose_ticks

if TYPE_CHECKING:
    from markupsafe import Markup

    from siamese_med.study.model_metrics import Estimate

WHISKER_WIDTH_PX = 340
WHISKER_ROW_HEIGHT_PX = 26
WHISKER_MARGINS_PX = (34, 12, 48, 128)
"""Top, right, bottom and left margin."""
MAX_NAME_LENGTH = 20
"""Characters of a row's name; longer names are cut off."""
LIMIT_ANCHORS = ((), ("middle",), ("end", "start"))
"""Text anchors of the words above no limit, one, and two that are close to each other."""


@dataclass(frozen=True)
class WhiskerRow:
    """One row of the chart.

    Parameters
    ----------
    name
        Label to the left.
    figure
        Value and both ends of its range; missing ones are not drawn.
    style, shape
        CSS class, and key of `marks.MARK_SHAPES`.
    hint
        Text that appears under the pointer.
    """

    name: str
    figure: Estimate
    style: str
    shape: str
    hint: str


def draw_whiskers(
    title: str, x_label: str, rows: Sequence[WhiskerRow], ends: AxisRange, limits: Sequence[tuple[float, str]] = ()
) -> Markup:
    """Draw one row for each value: a mark, and a line from the low to the high end of its range.

    Parameters
    ----------
    title
        Text alternative for screen readers.
    x_label
        Title of the axis.
    rows
        Rows from top to bottom.
    ends
        Range of the axis.
    limits
        At most two values, each with a word, drawn as dashed lines; the lower value first.
    """
    plot = Plot(
        title,
        (WHISKER_WIDTH_PX, WHISKER_MARGINS_PX[0] + WHISKER_ROW_HEIGHT_PX * len(rows) + WHISKER_MARGINS_PX[2]),
        ends,
        AxisRange(0, len(rows)),
        WHISKER_MARGINS_PX,
    )
    plot.axes(x_label, "", choose_ticks(ends.low, ends.high), [])
    for (value, word), anchor in zip(limits, LIMIT_ANCHORS[len(limits)], strict=True):
        column = plot.across(value)
        plot.line((column, plot.top), (column, plot.bottom), "limit")
        plot.text(word, column, plot.top - 8, anchor=anchor)
    for place, row in enumerate(rows):
        _row(plot, row, plot.top + WHISKER_ROW_HEIGHT_PX * (place + 0.5))
    return plot.svg()


def _row(plot: Plot, row: WhiskerRow, height: float) -> None:
    name = row.name if len(row.name) <= MAX_NAME_LENGTH else row.name[: MAX_NAME_LENGTH - 1] + "…"
    plot.text(name, plot.left - 12, height + 4, "key", anchor="end")
    figure = row.figure
    if figure.low is not None and figure.high is not None:
        plot.line((plot.across(figure.low), height), (plot.across(figure.high), height), f"whisker {row.style}")
    if figure.value is not None:
        place = f"translate({plot.across(figure.value)},{height}) scale(.75)"
        plot.add("path", f"point {row.shape} {row.style}", row.hint, d=MARK_SHAPES[row.shape], transform=place)
