"""Figures with their ranges, one a row, on one axis."""

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
MAX_NAME_LENGTH = 20
LIMIT_ANCHORS = ((), ("middle",), ("end", "start"))
"""Where the words of no limit, of one, and of two near each other stand."""


@dataclass(frozen=True)
class WhiskerRow:
    """One figure: its name, its range, a style with the shape of its mark, and what the pointer shows."""

    name: str
    figure: Estimate
    style: str
    shape: str
    hint: str


def draw_whiskers(
    title: str, x_label: str, rows: Sequence[WhiskerRow], ends: AxisRange, limits: Sequence[tuple[float, str]] = ()
) -> Markup:
    """A mark at each value on a line from the low to the high end; `limits`: at most two dashed lines, a word above."""
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
