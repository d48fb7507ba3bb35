"""Curves of the model page: ROC, DET, calibration and the course of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting.charts.plot import Plot, Range, nice_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

SQUARE = (430, 400)
WIDE = (430, 300)
MARGINS = (34, 16, 48, 48)
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
UNIT = Range(0.0, 1.0)
RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)
"""Error rates that the DET axes name, from end to end."""

STEPS = 250
"""Steps on each axis of a square chart that can be told apart."""

Curve = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def roc_points(same: NDArray[np.bool_], score: NDArray[np.float64]) -> Curve:
    """False and true positive rates over all thresholds, highest first; ties move together.

    `same` (n,) tells pairs of one patient, `score` (n,) is higher for them; pairs with a missing score are left out.
    """
    finite = np.isfinite(score)
    same, score = same[finite], score[finite]
    if not same.any() or same.all():
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.r_[np.diff(score[order]) != 0, True]
    hits, misses = np.cumsum(same[order])[last_of_tie], np.cumsum(~same[order])[last_of_tie]
    return np.r_[0.0, misses / misses[-1]], np.r_[0.0, hits / hits[-1]]


def roc(curves: Sequence[tuple[str, Curve]]) -> Markup:
    """One curve a method, the first one (the network) in the leading style."""
    plot = Plot(f"ROC curves of {len(curves)} methods on the test pairs", SQUARE, UNIT, UNIT, MARGINS)
    plot.axes("different pairs taken for the same person", "same-person pairs recognised", QUARTERS, QUARTERS)
    plot.curve([(0, 0), (1, 1)], "chance")
    for place, (_, curve) in reversed(list(enumerate(curves))):
        plot.curve(_corners(curve, UNIT), f"series s{place}")
    entries = [(f"series s{place}", name) for place, (name, _) in enumerate(curves)]
    plot.legend(entries, plot.across(0.42), plot.down(0.06 + 0.055 * len(entries)))
    return plot.svg()


def det(curves: Sequence[tuple[str, Curve]]) -> Markup:
    """Both errors on normal-deviate axes (Martin et al., Eurospeech 1997); one curve a method, the lower the better.

    Rates outside of the axes, zero among them, lie on the edge; the legend is the page's, since no corner stays free.
    """
    from scipy.stats import norm

    ends = Range(*(float(norm.ppf(rate)) for rate in (RATES[0], RATES[-1])))
    plot = Plot(f"DET curves of {len(curves)} methods on the test pairs", SQUARE, ends, ends, MARGINS)
    ticks = [float(norm.ppf(rate)) for rate in RATES]
    plot.axes("different pairs taken for the same person", "same-person pairs missed", ticks, ticks, _rate)
    plot.curve([(ends.low, ends.low), (ends.high, ends.high)], "chance")
    for place, (_, (wrong, right)) in reversed(list(enumerate(curves))):
        rates = np.clip([wrong, 1 - right], RATES[0], RATES[-1])
        plot.curve(_corners((norm.ppf(rates[0]), norm.ppf(rates[1])), ends), f"series s{place}")
    return plot.svg()


def _rate(deviate: float) -> str:
    from scipy.stats import norm

    return f"{100 * norm.cdf(deviate):.3g} %"


def _corners(curve: Curve, ends: Range) -> list[tuple[float, float]]:
    """The points that can be told apart between the ends of both axes, so that few false matches keep their detail."""
    points = np.column_stack(curve)
    steps = ((points - ends.low) / (ends.high - ends.low) * STEPS).round()
    moved = np.r_[True, (np.diff(steps, axis=0) != 0).any(axis=1)]
    return [(float(x), float(y)) for x, y in points[moved]]


def calibration(bins: Sequence[tuple[float, float, int]]) -> Markup:
    """(predicted, observed, n) a bin: on the diagonal, a similarity of .8 is right in 80 of 100 pairs."""
    plot = Plot(f"Calibration of the similarity in {len(bins)} bins", SQUARE, UNIT, UNIT, MARGINS)
    plot.axes("similarity", "share that is the same person", QUARTERS, QUARTERS)
    plot.curve([(0, 0), (1, 1)], "chance")
    plot.curve([(predicted, observed) for predicted, observed, _ in bins], "series s0")
    most = max((n for _, _, n in bins), default=1) or 1
    for predicted, observed, n in bins:
        radius = round(3 + 7 * (n / most) ** 0.5, 1)
        plot.add("circle", "dot s0", f"{n} pairs", cx=plot.across(predicted), cy=plot.down(observed), r=radius)
    return plot.svg()


def training(epochs: Sequence[float], losses: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """Losses over the epochs; (name, values) each as long as `epochs`, missing values leave gaps."""
    finite = [value for _, values in losses for value in values if np.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    y = Range(min(0.0, low), high * 1.3 if high > 0 else 1.0)
    x = Range(min(epochs), max(max(epochs), min(epochs) + 1))
    plot = Plot(f"Loss over {len(epochs)} epochs", WIDE, x, y, MARGINS)
    ticks = [tick for tick in nice_ticks(x.low, x.high) if tick == round(tick)]
    plot.axes("epoch", "loss", ticks, nice_ticks(y.low, y.high))
    for place, (_, values) in enumerate(losses):
        drawn = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if np.isfinite(value)]
        plot.curve(drawn, f"series s{place}")
    entries = [(f"series s{place}", name) for place, (name, _) in enumerate(losses)]
    plot.legend(entries, plot.right - 130, plot.top + 16)
    return plot.svg()
