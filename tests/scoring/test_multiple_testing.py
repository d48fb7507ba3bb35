"""Hommel's correction against the closed test that it is short for, and what it promises."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from siamese_med.scoring.change import multiple_testing


def test_the_correction_by_hand() -> None:
    assert multiple_testing.adjust_hommel([0.01, 0.2, 0.03]) == pytest.approx([0.03, 0.2, 0.06])
    assert multiple_testing.adjust_hommel([0.5, 0.9]) == [0.9, 0.9]
    assert multiple_testing.adjust_hommel([0.02]) == [0.02]
    assert multiple_testing.adjust_hommel([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_each_p_is_the_largest_of_the_tests_of_all_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = (rng.random(rng.integers(1, 9)) ** 2).tolist()
    adjusted = np.zeros(len(p))
    for group in (group for size in range(1, len(p) + 1) for group in combinations(range(len(p)), size)):
        ordered = np.sort([p[place] for place in group])
        simes = min(len(group) * ordered / np.arange(1, len(group) + 1))
        adjusted[list(group)] = np.maximum(adjusted[list(group)], simes)
    assert multiple_testing.adjust_hommel(p) == pytest.approx(np.minimum(adjusted, 1))


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_looking_often_raises_no_more_false_alarms(shared: float) -> None:
    """Also where the pairs of a patient depend on each other, by scans that they share."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    noise = np.sqrt(shared) * rng.normal(size=(2000, 1)) + np.sqrt(1 - shared) * rng.normal(size=(2000, 6))
    alarms = np.mean([min(multiple_testing.adjust_hommel(row)) < 0.05 for row in norm.sf(noise).tolist()])
    assert alarms < 0.06
    assert shared or alarms > 0.04


def test_several_pairs_that_are_each_a_little_unusual_count_together() -> None:
    """By Holm's correction none of these would be."""
    assert max(multiple_testing.adjust_hommel([0.02, 0.03, 0.03, 0.04, 0.045])) < 0.05
