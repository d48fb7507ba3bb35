"""Distances to calibrated probabilities that two scans are of one person."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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


def calibrate(distance: NDArray[np.float64], same: NDArray[np.bool_], false_match_rate: float) -> Calibration:
    """Fit the curve on validation pairs and choose the limits.

    `false_match_rate` is the share of different pairs over the threshold, and of same-patient pairs below the alarm.
    Platt's soft targets keep the curve finite when the pairs are separable, as few validation pairs often are.
    """
    from scipy.optimize import minimize

    positives, negatives = int(same.sum()), int((~same).sum())
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weight = np.where(same, 0.5 / positives, 0.5 / negatives)
    centre, scale = float(distance.mean()), float(distance.std()) or 1.0
    standard = (distance - centre) / scale

    def loss(parameters: NDArray[np.float64]) -> float:
        logit = parameters[0] * standard + parameters[1]
        return float((weight * (np.logaddexp(0, logit) - target * logit)).sum())

    slope, intercept = minimize(loss, np.array([-1.0, 0.0]), method="BFGS").x
    slope = min(float(slope), -1e-3)  # a larger distance never makes one person likelier
    curve = Calibration(slope / scale, float(intercept) - slope * centre / scale, 0.5, false_match_rate, 0.5)
    similarity = np.array([curve.similarity(value) for value in distance])
    threshold = float(np.quantile(similarity[~same], 1 - false_match_rate, method="higher"))
    alarm = curve.similarity(_farthest_expected(distance[same], false_match_rate))
    return replace(curve, threshold=threshold, alarm=min(alarm, threshold))


def _farthest_expected(distance: NDArray[np.float64], rate: float) -> float:
    """The distance that a further pair of one patient exceeds at `rate`: Student's t for a new observation.

    A quantile of the few validation pairs would be their largest, which a further patient soon exceeds.
    """
    from scipy.stats import t

    n = len(distance)
    spread = float(distance.std(ddof=1)) if n > 1 else float(distance[0])
    return float(distance.mean() + t.isf(rate, max(n - 1, 1)) * spread * math.sqrt(1 + 1 / n))
