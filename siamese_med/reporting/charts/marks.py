"""Shapes of the statuses; charts and the icons of a page use the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.reporting.charts.plot import Plot

MARK_SHAPES = {
    "triangle": "M0,-9 L9,7 L-9,7 Z",
    "circle": "M-7,0 a7,7 0 1,0 14,0 a7,7 0 1,0 -14,0 Z",
    "ring": "M-6,0 a6,6 0 1,0 12,0 a6,6 0 1,0 -12,0 Z",
    "slash": "M-6,-6 L6,6 M6,-6 L-6,6",
    "question": "M-5,-4 a5,5 0 1,1 7.2,4.5 Q0,2 0,3.8 M0,8.6 h.01",
    "diamond": "M0,-9 L8,0 L0,9 L-8,0 Z",
    "hexagon": "M0,-9 L8,-4.5 L8,4.5 L0,9 L-8,4.5 L-8,-4.5 Z",
}
"""SVG paths around the origin, about 18 pixels wide."""


def draw_mark(plot: Plot, shape: str, x: float, y: float, style: str, hint: str) -> None:
    """Draw the shape of a status at a pixel position.

    Parameters
    ----------
    plot
        Chart to draw on.
    shape
        Key of MARK_SHAPES.
    x, y
        Pixels from the left and the top of the chart.
    style
        CSS class that sets the colour.
    hint
        Text that appears under the pointer.
    """
    plot.add("path", f"mark {shape} {style}", hint, d=MARK_SHAPES[shape], transform=f"translate({x},{y})")
