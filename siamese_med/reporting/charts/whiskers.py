"""Figures with their ranges, one a row, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting.charts.marks import SHAPES
from siamese_med.reporting.charts.plot import Plot, Range, nice_ticks

if TYPE_CHECKING:
    from markupsafe import Markup

    from siamese_med.appraisal import Interval

WIDTH = 340
ROW = 26
MARGINS = (34, 12, 48, 128)
LONGEST_NAME = 20
ANCHORS = ((), ("middle",), ("end", "start"))
"""Where the words of no limit, of one, and of two near each other stand."""


@dataclass(frozen=True)
class Row:
    """One figure: its name, its range, a style with the shape of its mark, and what the pointer shows."""

    name: str
    figure: Interval
    style: str
    shape: str
    hint: str


def whiskers(
    title: str, x_label: str, rows: Sequence[Row], ends: Range, limits: Sequence[tuple[float, str]] = ()
) -> Markup:
    """A mark at each value on a line from the low to the high end; `limits`: at most two dashed lines, a word above."""
    plot = Plot(title, (WIDTH, MARGINS[0] + ROW * len(rows) + MARGINS[2]), ends, Range(0, len(rows)), MARGINS)
    plot.axes(x_label, "", nice_ticks(ends.low, ends.high), [])
    for (value, word), anchor in zip(limits, ANCHORS[len(limits)], strict=True):
        column = plot.across(value)
        plot.line((column, plot.top), (column, plot.bottom), "limit")
        plot.text(word, column, plot.top - 8, anchor=anchor)
    for place, row in enumerate(rows):
        _row(plot, row, plot.top + ROW * (place + 0.5))
    return plot.svg()


def _row(plot: Plot, row: Row, height: float) -> None:
    name = row.name if len(row.name) <= LONGEST_NAME else row.name[: LONGEST_NAME - 1] + "…"
    plot.text(name, plot.left - 12, height + 4, "key", anchor="end")
    figure = row.figure
    if figure.low is not None and figure.high is not None:
        plot.line((plot.across(figure.low), height), (plot.across(figure.high), height), f"whisker {row.style}")
    if figure.value is not None:
        place = f"translate({plot.across(figure.value)},{height}) scale(.75)"
        plot.add("path", f"point {row.shape} {row.style}", row.hint, d=SHAPES[row.shape], transform=place)
