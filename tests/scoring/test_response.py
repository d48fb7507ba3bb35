"""The figures of the change benchmark, on readings and maps whose figures are known by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from benchmarks import readings, response
from benchmarks.planted import BINS_MM3, SPACING_MM, Facts, Planted
from benchmarks.readings import THRESHOLDS, Reading
from benchmarks.response import Judged
from siamese_med.scoring.change.change_map import TAIL_THRESHOLDS, MapSummary
from tests.registered_pairs import make_pair

STEPS = len(THRESHOLDS)
STILL = Facts("p0", "p0", "none", 0.0, 0, 0, "FLAIR", ("one", "one"), 0.9, 1.0)
NOTHING = MapSummary(1.0, 1, 1.0, 0.1, np.zeros(len(TAIL_THRESHOLDS)))
QUIET = Reading(STILL, NOTHING, None, None, 0, [0] * STEPS, [0] * STEPS)


def _quiet(figure: float, patient: str = "p0") -> Reading:
    return replace(QUIET, facts=replace(STILL, patient=patient), finding=replace(NOTHING, figure=figure))


def _moved(volume_mm3: float, figure: float, patient: str = "p1") -> Reading:
    facts = replace(STILL, patient=patient, family="noise", volume_mm3=volume_mm3, sign=1, lesions=1)
    found = [1 if threshold < figure else 0 for threshold in THRESHOLDS]
    return Reading(facts, replace(NOTHING, figure=figure), 0.5, True, 1, found, [0] * STEPS)


def _judged(volume_mm3: float) -> Judged:
    return Judged(_moved(volume_mm3, 1.0).facts, 0.0, 0.5, None, None, 1, 0, 0)


def test_average_precision_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    strength, changed = rng.integers(0, 40, 500).astype(np.float32), rng.random(500) < 0.1
    expected = average_precision_score(changed, strength)
    assert readings.average_precision(strength, changed) == pytest.approx(expected)


def test_auc_counts_ties_half() -> None:
    assert response.auc([1, 2, 3], [0, 1, 2]) == pytest.approx((1.5 + 2.5 + 3) / 9)
    assert math.isnan(response.auc([1.0], [0.0]))


def test_smallest_volume_is_interpolated_log_linearly() -> None:
    moved = [_judged(volume) for volume in (100.0, 100.0, 100.0, 1000.0, 1000.0, 1000.0)]
    found = {f"auc_{low}": math.nan for low in BINS_MM3[:-1]} | {"auc_60": 0.8, "auc_500": 1.0}
    assert response.smallest(moved, found) == pytest.approx(math.sqrt(100 * 1000))
    assert response.smallest(moved, found | {"auc_500": 0.85}) == math.inf
    assert response.smallest(moved, found | {"auc_60": 0.95}) == pytest.approx(100)


def test_a_part_of_the_map_hits_or_is_false() -> None:
    truth, evidence = torch.zeros(2, 20, 20, 20)
    truth[2:5, 2:5, 2:5] = 1
    truth[12:15, 12:15, 12:15] = 1
    evidence[3:6, 3:6, 3:6] = 10
    evidence[8, 8, 8:12] = -10
    evidence[17, 17, 17] = 10  # too small to be counted
    facts = Facts("p000_noise_0020", "p0", "noise", 1.0, 1, 2, "FLAIR", ("one", "one"), 1, 1)
    scans = torch.rand(2, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(20, 20, 20, dtype=torch.bool)
    overlay = make_pair(scans[0], scans[1], inside, SPACING_MM)
    found = readings.of_pair(Planted(facts, overlay, truth), evidence)
    low, high = np.searchsorted(THRESHOLDS, [8.0, 11.0])
    assert (found.lesions, found.found[low], found.false[low]) == (2, 1, 1)
    assert (found.found[high], found.false[high]) == (0, 0)
    assert found.peak_inside


def test_settings_come_of_validation_pairs_alone() -> None:
    rng = np.random.default_rng(0)
    still = [_quiet(math.exp(figure)) for figure in rng.normal(size=200)]
    noisy = [replace(one, false=[5 if threshold < 4 else 0 for threshold in THRESHOLDS]) for one in still]
    settings = response.choose_settings([*noisy, *(_moved(1000.0, 10.0) for _ in range(20))])
    assert 4 <= settings.threshold < 10
    fresh = [_quiet(math.exp(figure)) for figure in rng.normal(size=1000)]
    assert response.figures(settings.judged(fresh))["alarms"] == pytest.approx(0.05, abs=0.02)


def test_intervals_hold_the_figure_and_shrink_with_patients() -> None:
    rng = np.random.default_rng(1)

    def pairs(patients: int) -> list[Reading]:
        each = [(f"p{n}", math.exp(rng.normal(8, 2)), math.exp(rng.normal())) for n in range(patients)]
        return [
            reading
            for name, large, small in each
            for reading in (_moved(1000.0 + large, large, name), _quiet(small, name))
        ]

    widths = []
    for patients in (8, 60):
        chosen = pairs(patients)
        found = response.with_intervals([response.choose_settings(chosen).judged(chosen)], resamples=60)
        interval = found["auc_500"]
        assert interval["low"] <= interval["value"] <= interval["high"]
        widths.append(interval["high"] - interval["low"])
    assert widths[1] <= widths[0]
