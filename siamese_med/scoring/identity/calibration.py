"""Distances to calibrated probabilities that two scans are of one person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.scoring.identity import platt_scaling
from siamese_med.scoring.identity.verification_metrics import ScanPairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siamese_med.study.model_info import ModelInfo


@dataclass(frozen=True)
class SimilarityCalibration:
    """A logistic curve on the distance, and the similarity from which on two scans are a match."""

    slope: float
    intercept: float
    threshold: float
    false_match_rate: float

    def similarity(self, distance: float) -> float:
        """Probability of one person, where same and different are equally likely beforehand."""
        return float(self.similarities(np.array([distance]))[0])

    def similarities(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `similarity`, for distances of any shape."""
        exponent = np.clip(-(self.slope * distances + self.intercept), -700, 700)
        return np.asarray(1 / (1 + np.exp(exponent)))


def make_calibration(info: ModelInfo) -> SimilarityCalibration:
    """Return the curve and the threshold that a model was calibrated to."""
    curve = info.calibration
    return SimilarityCalibration(curve.slope, curve.intercept, curve.threshold, curve.false_match_rate)


def calibrate_similarity(
    distance: NDArray[np.float64], subjects: Sequence[str], false_match_rate: float
) -> SimilarityCalibration:
    """Fit the curve on all pairs of validation scans, distances (n, n); at the threshold that share of others match."""
    pairs = ScanPairs(subjects)
    apart = distance[pairs.places]
    curve = SimilarityCalibration(*platt_scaling.fit_platt_scaling(apart, pairs.same), 0.5, false_match_rate)
    different = curve.similarities(apart[~pairs.same])
    return replace(curve, threshold=float(np.quantile(different, 1 - false_match_rate, method="higher")))
