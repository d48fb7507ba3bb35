"""Calibration of distances: from the distance of two embeddings to the probability that both scans show one person."""

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
    """A logistic curve on the distance, and the similarity at which two scans are called a match.

    Attributes
    ----------
    slope, intercept
        Of the log odds over the distance; the slope is negative.
    threshold
        Similarity, 0 to 1; at this value and above it is a match.
    false_match_rate
        Share of pairs of two patients that match, for which the threshold was chosen.

    Examples
    --------
    >>> curve = SimilarityCalibration(slope=-4.0, intercept=4.0, threshold=0.9, false_match_rate=0.01)
    >>> curve.similarity(1.0), round(curve.similarity(0.2), 2)
    (0.5, 0.96)
    """

    slope: float
    intercept: float
    threshold: float
    false_match_rate: float

    def similarity(self, distance: float) -> float:
        """Return the probability of one person, for a prior probability of one half."""
        return float(self.similarities(np.array([distance]))[0])

    def similarities(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the `similarity` of distances of any shape."""
        exponent = np.clip(-(self.slope * distances + self.intercept), -700, 700)
        return np.asarray(1 / (1 + np.exp(exponent)))


def make_calibration(info: ModelInfo) -> SimilarityCalibration:
    """Make the calibration of a model from its description."""
    curve = info.calibration
    return SimilarityCalibration(curve.slope, curve.intercept, curve.threshold, curve.false_match_rate)


def calibrate_similarity(
    distance: NDArray[np.float64], subjects: Sequence[str], false_match_rate: float
) -> SimilarityCalibration:
    """Fit the logistic curve and the threshold on all pairs of n validation scans.

    Parameters
    ----------
    distance
        Distances (n, n) of the embeddings.
    subjects
        Patient of each of the n scans.
    false_match_rate
        Share of the pairs of two patients that may reach the threshold.
    """
    pairs = ScanPairs(subjects)
    apart = distance[pairs.places]
    curve = SimilarityCalibration(*platt_scaling.fit_platt_scaling(apart, pairs.same), 0.5, false_match_rate)
    different = curve.similarities(apart[~pairs.same])
    return replace(curve, threshold=float(np.quantile(different, 1 - false_match_rate, method="higher")))
