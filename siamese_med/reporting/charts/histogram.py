"""Histograms of a few groups of values on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting.charts.plot import AxisRange, Plot, choose_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

HISTOGRAM_SIZE_PX = (430, 300)
HISTOGRAM_MARGINS_PX = (34, 16, 48, 40)
"""Top, right, bottom and left margin."""


def draw_histogram(
    title: str,
    x_label: str,
    groups: Sequence[tuple[str, str, Sequence[float]]],
    band: tuple[float, float] | None = None,
    y_label: str = "share of the pairs",
    bins: int = 30,
) -> Markup:
    """Draw the histograms of groups on one axis, each as shares of its own group.

    `groups` holds the style, name and values of each group; missing values are skipped. `band` is a shaded range of the
    x axis, such as that of rescans.
    """
    shown = [
        (style, name, np.asarray([value for value in values if np.isfinite(value)])) for style, name, values in groups
    ]
    x = _range([*(value for _, _, values in shown for value in values), *(band or ())])
    shares = [np.histogram(values, bins, (x.low, x.high))[0] / max(len(values), 1) for _, _, values in shown]
    top = max([0.05, *(float(share.max()) for share in shares)]) * 1.25
    plot = Plot(
        f"{title}: {', '.join(f'{len(values)} {name}' for _, name, values in shown)}",
        HISTOGRAM_SIZE_PX,
        x,
        AxisRange(0, top),
        HISTOGRAM_MARGINS_PX,
    )
    if band:
        plot.box(AxisRange(*band), plot.y, "band")
    plot.axes(x_label, y_label, choose_ticks(x.low, x.high), choose_ticks(0, top, 4))
    edges = np.linspace(x.low, x.high, bins + 1)
    for (style, _, _), share in zip(shown, shares, strict=True):
        for height, left, right in zip(share, edges, edges[1:], strict=False):
            if height > 0:
                plot.box(AxisRange(float(left), float(right)), AxisRange(0, float(height)), f"group {style}")
    plot.legend([(f"swatch {style}", name) for style, name, _ in shown], plot.right - 150, plot.top + 14)
    return plot.svg()


def _range(values: Sequence[float]) -> AxisRange:
    if not values:
        return AxisRange(0.0, 1.0)
    low, high = float(min(values)), float(max(values))
    slack = (high - low) * 0.02 or 0.5
    return AxisRange(low - slack, high + slack)
