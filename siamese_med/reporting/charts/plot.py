"""A frame with two axes to draw into; pixels of the view box, y downwards; the page's style colours by class."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

PlotPoints = Sequence[tuple[float, float]]

TICK_STYLE = "tick grade"
"""Style of the values of an axis: unlike other words of a chart they are nobody's figures."""


def choose_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about as many as asked for."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(tick * step, 10) for tick in range(first, math.floor(high / step + 1e-9) + 1)]


def format_tick(tick: float) -> str:
    """A value of an axis without needless digits, with a true minus sign."""
    return f"{tick:g}".replace("-", "−")


@dataclass(frozen=True)
class AxisRange:
    """From the first to the last value of an axis."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1, clipped."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


class Plot:
    """An SVG picture with a drawing area; `title` is what a screen reader says."""

    def __init__(
        self, title: str, size: tuple[int, int], x: AxisRange, y: AxisRange, margins: tuple[int, int, int, int]
    ) -> None:
        """`margins` in pixels: top, right, bottom, left."""
        self.x, self.y = x, y
        self.width, self.height = size
        self.top, right, bottom, self.left = margins
        self.right, self.bottom = self.width - right, self.height - bottom
        self.root = ElementTree.Element(
            "svg", {"viewBox": f"0 0 {self.width} {self.height}", "role": "img", "aria-label": title, "class": "plot"}
        )

    def across(self, value: float) -> float:
        """Pixel column of a value on the x axis."""
        return round(self.left + self.x.share(value) * (self.right - self.left), 1)

    def down(self, value: float) -> float:
        """Pixel row of a value on the y axis."""
        return round(self.bottom - self.y.share(value) * (self.bottom - self.top), 1)

    def add(self, tag: str, style: str, hint: str | None = None, **attributes: float | str) -> ElementTree.Element:
        """Any element with a class; `hint` shows under the pointer."""
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        element = ElementTree.SubElement(self.root, tag, {"class": style, **named})
        if hint:
            ElementTree.SubElement(element, "title").text = hint
        return element

    def text(self, content: str, x: float, y: float, style: str = "tick", anchor: str = "middle") -> None:
        """A word at a pixel position."""
        self.add("text", style, x=x, y=y, text_anchor=anchor).text = content

    def line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        """A straight line between two pixel positions."""
        self.add("line", style, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def curve(self, points: PlotPoints, style: str) -> None:
        """A line through values."""
        path = " ".join(f"{self.across(x)},{self.down(y)}" for x, y in points)
        self.add("polyline", style, points=path)

    def box(self, x: AxisRange, y: AxisRange, style: str, hint: str | None = None) -> None:
        """A rectangle between values."""
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
        """Grid lines with their values, as `written` writes them, and what the axes mean."""
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
        """(style, word) lines below one another, from a pixel position on."""
        for place, (style, word) in enumerate(entries):
            row = y + 18 * place
            self.line((x, row - 4), (x + 20, row - 4), style)
            self.text(word, x + 27, row, "key", anchor="start")

    def svg(self) -> Markup:
        """The picture as markup; every text in it is escaped."""
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))
