"""Distances to calibrated probabilities that two scans are of one person."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.scoring import logistic
from siamese_med.scoring.metrics import Pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Platt's logistic curve (1999) on the distance, and the two limits that validation pairs gave.

    A similarity over `threshold` is a match; one of a patient's own pairs below `alarm` asks whether it is he.
    """

    slope: float
    intercept: float
    threshold: float
    false_match_rate: float
    alarm: float

    def similarity(self, distance: float) -> float:
        """Probability of one person, where same and different are equally likely beforehand."""
        return float(self.similarities(np.array([distance]))[0])

    def similarities(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `similarity`, for distances of any shape."""
        exponent = np.clip(-(self.slope * distances + self.intercept), -700, 700)
        return np.asarray(1 / (1 + np.exp(exponent)))


def calibrate(distance: NDArray[np.float64], subjects: Sequence[str], false_match_rate: float) -> Calibration:
    """Fit the curve on all pairs of validation scans, distances (n, n), and choose the limits.

    `false_match_rate` is the share of different pairs over the threshold, and of same-patient pairs below the alarm.
    """
    pairs = Pairs(subjects)
    apart, same = distance[pairs.places], pairs.same
    slope, intercept = logistic.fit(apart, same)
    curve = Calibration(slope, intercept, 0.5, false_match_rate, 0.5)
    threshold = float(np.quantile(curve.similarities(apart[~same]), 1 - false_match_rate, method="higher"))
    alarm = curve.similarity(_farthest_expected(apart[same], false_match_rate))
    return replace(curve, threshold=threshold, alarm=min(alarm, threshold))


def _farthest_expected(distance: NDArray[np.float64], rate: float) -> float:
    """The distance that a further pair of one patient exceeds at `rate`: Student's t for a new observation.

    A quantile of the few validation pairs would be their largest, which a further patient soon exceeds.
    """
    from scipy.stats import t

    n = len(distance)
    spread = float(distance.std(ddof=1)) if n > 1 else float(distance[0])
    return float(distance.mean() + t.isf(rate, max(n - 1, 1)) * spread * math.sqrt(1 + 1 / n))
