"""Holm's correction against values worked out by hand, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.scoring.change import multiple_testing


def test_the_correction_by_hand() -> None:
    assert multiple_testing.adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert multiple_testing.adjust_holm([0.5, 0.9]) == [1.0, 1.0]
    assert multiple_testing.adjust_holm([0.02]) == [0.02]
    assert multiple_testing.adjust_holm([]) == []


def test_looking_often_raises_no_more_false_alarms() -> None:
    draws = np.random.default_rng(0).random((2000, 6))
    alarms = np.mean([min(multiple_testing.adjust_holm(list(row))) < 0.05 for row in draws])
    assert 0.03 < alarms < 0.07
