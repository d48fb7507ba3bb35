"""An SVG chart with two axes.

Positions are pixels of the view box, y downwards. The page's style sheet sets the colours by class.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

PlotPoints = Sequence[tuple[float, float]]
"""Points (x, y) in units of the axes."""

TICK_STYLE = "tick grade"
"""CSS classes of an axis's tick labels; `grade` marks numbers that are no results."""


def choose_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Choose round tick values between `low` and `high`, about as many as asked for.

    The step is 1, 2, 2.5 or 5 times a power of ten.

    Examples
    --------
    >>> choose_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> choose_ticks(-3.0, 12.0, about=3)
    [0.0, 5.0, 10.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(tick * step, 10) for tick in range(first, math.floor(high / step + 1e-9) + 1)]


def format_tick(tick: float) -> str:
    """Format a tick value without trailing zeros and with a typographic minus sign.

    Examples
    --------
    >>> format_tick(-2.50)
    '−2.5'
    """
    return f"{tick:g}".replace("-", "−")


@dataclass(frozen=True)
class AxisRange:
    """First and last value of an axis, in the units of the data."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return the position of a value between the ends, from 0 to 1; values outside are clipped.

        Examples
        --------
        >>> AxisRange(10.0, 20.0).share(12.5), AxisRange(10.0, 20.0).share(99.0)
        (0.25, 1.0)
        """
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


class Plot:
    """An SVG chart that is drawn element by element, see `svg`.

    Parameters
    ----------
    title
        Text alternative for screen readers.
    size
        Width and height in pixels.
    x, y
        Ranges of the axes.
    margins
        Pixels around the drawing area: top, right, bottom, left.

    Examples
    --------
    >>> plot = Plot("Loss", (100, 50), AxisRange(0, 10), AxisRange(0, 1), (10, 10, 10, 10))
    >>> plot.across(5), plot.down(1)
    (50.0, 10.0)
    """

    def __init__(
        self, title: str, size: tuple[int, int], x: AxisRange, y: AxisRange, margins: tuple[int, int, int, int]
    ) -> None:
        """Start an empty chart."""
        self.x, self.y = x, y
        self.width, self.height = size
        self.top, right, bottom, self.left = margins
        self.right, self.bottom = self.width - right, self.height - bottom
        self.root = ElementTree.Element(
            "svg", {"viewBox": f"0 0 {self.width} {self.height}", "role": "img", "aria-label": title, "class": "plot"}
        )

    def across(self, value: float) -> float:
        """Return the pixel column of a value on the x axis."""
        return round(self.left + self.x.share(value) * (self.right - self.left), 1)

    def down(self, value: float) -> float:
        """Return the pixel row of a value on the y axis."""
        return round(self.bottom - self.y.share(value) * (self.bottom - self.top), 1)

    def add(self, tag: str, style: str, hint: str | None = None, **attributes: float | str) -> ElementTree.Element:
        """Add an SVG element.

        Parameters
        ----------
        tag
            Name of the element.
        style
            Its CSS classes.
        hint
            Text that appears under the pointer.
        **attributes
            Its attributes; an underscore in a name becomes a hyphen.
        """
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        element = ElementTree.SubElement(self.root, tag, {"class": style, **named})
        if hint:
            ElementTree.SubElement(element, "title").text = hint
        return element

    def text(self, content: str, x: float, y: float, style: str = "tick", anchor: str = "middle") -> None:
        """Write a short text at a pixel position; `anchor` is SVG's text-anchor."""
        self.add("text", style, x=x, y=y, text_anchor=anchor).text = content

    def line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        """Draw a straight line between two pixel positions."""
        self.add("line", style, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def curve(self, points: PlotPoints, style: str) -> None:
        """Draw a line through points that are given in units of the axes."""
        path = " ".join(f"{self.across(x)},{self.down(y)}" for x, y in points)
        self.add("polyline", style, points=path)

    def box(self, x: AxisRange, y: AxisRange, style: str, hint: str | None = None) -> None:
        """Draw a rectangle that is given in units of the axes."""
        left, right, top, bottom = self.across(x.low), self.across(x.high), self.down(y.high), self.down(y.low)
        width, height = round(right - left, 1), round(bottom - top, 1)
        self.add("rect", style, hint, x=left, y=top, width=width, height=height)

    def axes(
        self,
        x_label: str,
        y_label: str,
        x_ticks: Iterable[float],
        y_ticks: Iterable[float],
        written: Callable[[float], str] = format_tick,
    ) -> None:
        """Draw both axes with their tick labels and titles.

        Parameters
        ----------
        x_label, y_label
            Titles; an empty one is left out.
        x_ticks, y_ticks
            Values with a tick; those of the y axis get a grid line.
        written
            Formats the value of a tick.
        """
        for tick in y_ticks:
            row = self.down(tick)
            self.line((self.left, row), (self.right, row), "grid")
            self.text(written(tick), self.left - 8, row + 4, TICK_STYLE, "end")
        for tick in x_ticks:
            column = self.across(tick)
            self.line((column, self.bottom), (column, self.bottom + 4), "axis")
            self.text(written(tick), column, self.bottom + 18, TICK_STYLE)
        self.line((self.left, self.bottom), (self.right, self.bottom), "axis")
        if x_label:
            self.text(x_label, (self.left + self.right) / 2, self.height - 6, "label")
        if y_label:
            self.text(y_label, self.left - 8, self.top - 10, "label", anchor="start")

    def legend(self, entries: Sequence[tuple[str, str]], x: float, y: float) -> None:
        """Draw a legend.

        Parameters
        ----------
        entries
            CSS classes and name of each entry, from top to bottom.
        x, y
            Pixel position of the first entry.
        """
        for place, (style, word) in enumerate(entries):
            row = y + 18 * place
            self.line((x, row - 4), (x + 20, row - 4), style)
            self.text(word, x + 27, row, "key", anchor="start")

    def svg(self) -> Markup:
        """Return the chart as markup; all texts in it are escaped."""
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))
