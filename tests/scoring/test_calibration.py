"""Distances to calibrated probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from siamese_med.scoring.identity import calibration, verification_metrics
from siamese_med.scoring.identity.verification_metrics import ScanPairs

Distances = tuple[np.ndarray, list[str]]


def of_scans(patients: int, scans: int, rng: np.random.Generator) -> Distances:
    """Distances of all scans: same pairs about 1, different ones about 2, overlapping; and whose the scans are."""
    subjects = np.repeat(np.arange(patients), scans)
    mean = np.where(subjects[:, None] == subjects, 1.0, 2.0)
    half = np.triu(rng.normal(mean, 0.3), 1)
    return half + half.T, [f"sub-{number}" for number in subjects]


@pytest.fixture(scope="module")
def known() -> Distances:
    """40 patients with 4 scans: 240 same and 12,480 different pairs."""
    return of_scans(40, 4, np.random.default_rng(0))


def test_a_smaller_distance_never_gives_a_smaller_similarity(known: Distances) -> None:
    curve = calibration.calibrate_similarity(*known, 0.01)
    values = [curve.similarity(distance) for distance in np.linspace(-5, 10, 500)]
    assert all(a >= b for a, b in pairwise(values))
    assert 0 <= min(values) < max(values) <= 1


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_the_threshold_lets_the_nominal_share_of_different_pairs_through(known: Distances, rate: float) -> None:
    curve, pairs = calibration.calibrate_similarity(*known, rate), ScanPairs(known[1])
    different = known[0][pairs.places][~pairs.same]
    passed = (curve.similarities(different) >= curve.threshold).mean()
    assert passed == pytest.approx(rate, abs=1.01 / len(different))


def test_the_probability_is_that_of_the_pairs_with_both_kinds_equally_likely(known: Distances) -> None:
    curve = calibration.calibrate_similarity(*known, 0.01)
    assert curve.similarity(1.5) == pytest.approx(0.5, abs=0.05)
    expected = 1 / (1 + np.exp((1.7 - 1.5) / 0.09))
    assert curve.similarity(1.7) == pytest.approx(expected, abs=0.05)


def test_the_probability_and_the_threshold_hold_for_other_patients(known: Distances) -> None:
    curve = calibration.calibrate_similarity(*known, 0.01)
    distance, subjects = of_scans(40, 4, np.random.default_rng(1))
    pairs = ScanPairs(subjects)
    found = curve.similarities(distance[pairs.places])
    assert verification_metrics.calibration_bins(found, pairs.same)[0] <= 0.03
    assert 0.01 / 1.5 <= (found[~pairs.same] >= curve.threshold).mean() <= 0.01 * 1.5


def test_separable_pairs_give_no_certainty() -> None:
    distance = np.array([[0, 0.1, 5, 6], [0.1, 0, 5.5, 7], [5, 5.5, 0, 0.2], [6, 7, 0.2, 0]])
    curve = calibration.calibrate_similarity(distance, ["a", "a", "b", "b"], 0.01)
    assert 0.6 < curve.similarity(0.1) < 0.999
    assert 0.001 < curve.similarity(7.0) < 0.4


def test_a_network_that_learned_the_contrary_gives_no_rising_curve() -> None:
    distance = np.array([[0, 5, 1, 2], [5, 0, 1, 2], [1, 1, 0, 6], [2, 2, 6, 0.0]])
    assert calibration.calibrate_similarity(distance, ["a", "a", "b", "b"], 0.01).slope < 0


def test_equal_distances_give_a_finite_curve() -> None:
    curve = calibration.calibrate_similarity(np.ones((4, 4)), ["a", "a", "b", "b"], 0.01)
    assert 0 < curve.similarity(1.0) < 1


def test_a_distance_beyond_all_bounds_is_a_probability_still(known: Distances) -> None:
    curve = calibration.calibrate_similarity(*known, 0.01)
    assert curve.similarity(1e9) == pytest.approx(0, abs=1e-12)
    assert curve.similarity(-1e9) == pytest.approx(1, abs=1e-12)
