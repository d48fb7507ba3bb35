"""Curves of the model page: ROC, DET, calibration and training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siamese_med.reporting.charts.plot import AxisRange, Plot, choose_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

SQUARE_SIZE_PX = (430, 400)
WIDE_SIZE_PX = (430, 300)
CURVE_MARGINS_PX = (34, 16, 48, 48)
"""Top, right, bottom and left margin."""
QUARTER_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
UNIT_RANGE = AxisRange(0.0, 1.0)
DET_ERROR_RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)
"""Error rates with a tick on the axes of a DET chart; the first and the last are the ends of the axes."""

MAX_AXIS_STEPS = 250
"""Number of positions along an axis of a square chart that can be told apart; closer points are left out."""

CurvePoints = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""False positive rates and true positive rates, each (n,)."""


def compute_roc_points(same: NDArray[np.bool_], score: NDArray[np.float64]) -> CurvePoints:
    """Compute the ROC curve of a score over all thresholds, from the highest down.

    Parameters
    ----------
    same
        Whether each pair is of one patient (n,).
    score
        Score of each pair (n,), higher for pairs of one patient. Pairs whose score is missing are left out.

    Returns
    -------
    CurvePoints
        False and true positive rates, both starting at 0 and ending at 1; tied scores give one point.
        The diagonal where only one kind of pair is left.

    Examples
    --------
    >>> wrong, right = compute_roc_points(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
    >>> wrong.tolist(), right.tolist()
    ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0])
    """
    finite = np.isfinite(score)
    same, score = same[finite], score[finite]
    if not same.any() or same.all():
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.r_[np.diff(score[order]) != 0, True]
    hits, misses = np.cumsum(same[order])[last_of_tie], np.cumsum(~same[order])[last_of_tie]
    return np.r_[0.0, misses / misses[-1]], np.r_[0.0, hits / hits[-1]]


def draw_roc_curves(curves: Sequence[tuple[str, CurvePoints]]) -> Markup:
    """Draw ROC curves on one chart.

    Parameters
    ----------
    curves
        Name and points of each method; the first one, the network, gets the main style.

    Returns
    -------
    Markup
        SVG with axes, a legend and the line of chance.
    """
    plot = Plot(
        f"ROC curves of {len(curves)} methods on the test pairs",
        SQUARE_SIZE_PX,
        UNIT_RANGE,
        UNIT_RANGE,
        CURVE_MARGINS_PX,
    )
    plot.axes("different pairs taken for the same person", "same-person pairs recognised", QUARTER_TICKS, QUARTER_TICKS)
    plot.curve([(0, 0), (1, 1)], "chance")
    for place, (_, curve) in reversed(list(enumerate(curves))):
        plot.curve(_corners(curve, UNIT_RANGE), f"series s{place}")
    entries = [(f"series s{place}", name) for place, (name, _) in enumerate(curves)]
    plot.legend(entries, plot.across(0.42), plot.down(0.06 + 0.055 * len(entries)))
    return plot.svg()


def draw_det_curves(curves: Sequence[tuple[str, CurvePoints]]) -> Markup:
    """Draw the two error rates against each other on normal-deviate axes; a lower curve is better.

    Rates beyond the ends of the axes, such as zero, are drawn at the edge. There is no legend, because no corner of the
    chart is free; the page has one.

    Parameters
    ----------
    curves
        Name and ROC points of each method; the first one gets the main style.

    References
    ----------
    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    from scipy.stats import norm

    ends = AxisRange(*(float(norm.ppf(rate)) for rate in (DET_ERROR_RATES[0], DET_ERROR_RATES[-1])))
    plot = Plot(f"DET curves of {len(curves)} methods on the test pairs", SQUARE_SIZE_PX, ends, ends, CURVE_MARGINS_PX)
    ticks = [float(norm.ppf(rate)) for rate in DET_ERROR_RATES]
    plot.axes("different pairs taken for the same person", "same-person pairs missed", ticks, ticks, _rate)
    plot.curve([(ends.low, ends.low), (ends.high, ends.high)], "chance")
    for place, (_, (wrong, right)) in reversed(list(enumerate(curves))):
        rates = np.clip([wrong, 1 - right], DET_ERROR_RATES[0], DET_ERROR_RATES[-1])
        plot.curve(_corners((norm.ppf(rates[0]), norm.ppf(rates[1])), ends), f"series s{place}")
    return plot.svg()


def _rate(deviate: float) -> str:
    from scipy.stats import norm

    return f"{100 * norm.cdf(deviate):.3g} %"


def _corners(curve: CurvePoints, ends: AxisRange) -> list[tuple[float, float]]:
    """The points that can be told apart between the ends of both axes, so that few false matches keep their detail."""
    points = np.column_stack(curve)
    steps = ((points - ends.low) / (ends.high - ends.low) * MAX_AXIS_STEPS).round()
    moved = np.r_[True, (np.diff(steps, axis=0) != 0).any(axis=1)]
    return [(float(x), float(y)) for x, y in points[moved]]


def draw_calibration_curve(bins: Sequence[tuple[float, float, int]]) -> Markup:
    """Draw the observed share of same-person pairs against the predicted similarity.

    On the diagonal, 80 of 100 pairs with a similarity of 0.8 are of one person.

    Parameters
    ----------
    bins
        Mean prediction, observed share and number of pairs of each bin; the number sets the size of the point.
    """
    plot = Plot(
        f"Calibration of the similarity in {len(bins)} bins", SQUARE_SIZE_PX, UNIT_RANGE, UNIT_RANGE, CURVE_MARGINS_PX
    )
    plot.axes("similarity", "share that is the same person", QUARTER_TICKS, QUARTER_TICKS)
    plot.curve([(0, 0), (1, 1)], "chance")
    plot.curve([(predicted, observed) for predicted, observed, _ in bins], "series s0")
    most = max((n for _, _, n in bins), default=1) or 1
    for predicted, observed, n in bins:
        radius = round(3 + 7 * (n / most) ** 0.5, 1)
        plot.add("circle", "dot s0", f"{n} pairs", cx=plot.across(predicted), cy=plot.down(observed), r=radius)
    return plot.svg()


def draw_training_curve(epochs: Sequence[float], losses: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """Draw training and validation losses over the epochs.

    Parameters
    ----------
    epochs
        Numbers of the epochs, at least one.
    losses
        Name and values of each curve, as many as epochs; values that are missing (NaN) are skipped.
    """
    finite = [value for _, values in losses for value in values if np.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    y = AxisRange(min(0.0, low), high * 1.3 if high > 0 else 1.0)
    x = AxisRange(min(epochs), max(max(epochs), min(epochs) + 1))
    plot = Plot(f"Loss over {len(epochs)} epochs", WIDE_SIZE_PX, x, y, CURVE_MARGINS_PX)
    ticks = [tick for tick in choose_ticks(x.low, x.high) if tick == round(tick)]
    plot.axes("epoch", "loss", ticks, choose_ticks(y.low, y.high))
    for place, (_, values) in enumerate(losses):
        drawn = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if np.isfinite(value)]
        plot.curve(drawn, f"series s{place}")
    entries = [(f"series s{place}", name) for place, (name, _) in enumerate(losses)]
    plot.legend(entries, plot.right - 130, plot.top + 16)
    return plot.svg()
