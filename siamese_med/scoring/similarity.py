"""Distances to calibrated probabilities that two scans are of one person."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Platt's logistic curve (1999) on the distance, and the threshold that validation pairs gave."""

    slope: float
    intercept: float
    threshold: float
    false_match_rate: float

    def similarity(self, distance: float) -> float:
        """Probability of one person, where same and different are equally likely beforehand."""
        return 1 / (1 + math.exp(min(700.0, max(-700.0, -(self.slope * distance + self.intercept)))))


def calibrate(distance: NDArray[np.float64], same: NDArray[np.bool_], false_match_rate: float) -> Calibration:
    """Fit the curve on validation pairs and choose the similarity that `false_match_rate` of different pairs exceed.

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
    curve = Calibration(slope / scale, float(intercept) - slope * centre / scale, 0.5, false_match_rate)
    different = np.array([curve.similarity(value) for value in distance[~same]])
    threshold = float(np.quantile(different, 1 - false_match_rate, method="higher"))
    return Calibration(curve.slope, curve.intercept, threshold, false_match_rate)
