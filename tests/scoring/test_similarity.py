"""Distances to calibrated probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from siamese_med.scoring import similarity


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Distances of 200 same and 2000 different pairs, overlapping."""
    rng = np.random.default_rng(0)
    same = np.arange(2200) < 200
    return np.where(same, rng.normal(1.0, 0.3, 2200), rng.normal(2.0, 0.3, 2200)), same


def test_a_smaller_distance_never_gives_a_smaller_similarity(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    curve = similarity.calibrate(*pairs, 0.01)
    values = [curve.similarity(distance) for distance in np.linspace(-5, 10, 500)]
    assert all(a >= b for a, b in pairwise(values))
    assert 0 <= min(values) < max(values) <= 1


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_the_threshold_lets_the_nominal_share_of_different_pairs_through(
    pairs: tuple[np.ndarray, np.ndarray], rate: float
) -> None:
    distance, same = pairs
    curve = similarity.calibrate(distance, same, rate)
    passed = np.mean([curve.similarity(value) >= curve.threshold for value in distance[~same]])
    assert passed == pytest.approx(rate, abs=1.01 / (~same).sum())


def test_the_probability_is_that_of_the_pairs_with_both_kinds_equally_likely(
    pairs: tuple[np.ndarray, np.ndarray],
) -> None:
    curve = similarity.calibrate(*pairs, 0.01)
    assert curve.similarity(1.5) == pytest.approx(0.5, abs=0.05)
    expected = 1 / (1 + np.exp((1.7 - 1.5) / 0.09))
    assert curve.similarity(1.7) == pytest.approx(expected, abs=0.05)


def test_separable_pairs_give_no_certainty() -> None:
    curve = similarity.calibrate(np.array([0.1, 0.2, 5.0, 6.0, 7.0]), np.array([True, True, False, False, False]), 0.01)
    assert 0.6 < curve.similarity(0.1) < 0.999
    assert 0.001 < curve.similarity(7.0) < 0.4


def test_a_network_that_learned_the_contrary_gives_no_rising_curve() -> None:
    curve = similarity.calibrate(np.array([5.0, 6.0, 1.0, 2.0]), np.array([True, True, False, False]), 0.01)
    assert curve.slope < 0


def test_equal_distances_give_a_finite_curve() -> None:
    curve = similarity.calibrate(np.ones(6), np.array([True, True, False, False, False, False]), 0.01)
    assert 0 < curve.similarity(1.0) < 1


def test_a_distance_beyond_all_bounds_is_a_probability_still(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    curve = similarity.calibrate(*pairs, 0.01)
    assert curve.similarity(1e9) == pytest.approx(0, abs=1e-12)
    assert curve.similarity(-1e9) == pytest.approx(1, abs=1e-12)
