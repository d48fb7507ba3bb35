"""What would have been seen in a pair: its own noise decides."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from siamese_med.imaging.resampling import smooth_images
from siamese_med.scoring.change import detectability, residual_detector
from siamese_med.scoring.change.pair_registration import ChangeDetector, RegisteredPair
from siamese_med.study.thresholds import LARGEST_TESTED_ML, PLANTED_CONTRAST
from tests.registered_pairs import make_pair

SHAPE = (44, 48, 40)
SPACING_MM = 1.5
LIMIT = 6.0
"""Evidence over which the tests take a place for seen."""


def pair(noise: float, brightness: float = 1.0) -> RegisteredPair:
    """Two scans of smooth tissue, each with noise of its own."""
    draw = torch.Generator().manual_seed(0)
    anatomy = brightness * (1 + 0.1 * smooth_images(torch.randn(1, 1, *SHAPE, generator=draw), 4.0)[0, 0])
    a, b = (anatomy + noise * torch.randn(SHAPE, generator=draw) for _ in range(2))
    return make_pair(a, b, torch.ones(SHAPE, dtype=torch.bool), SPACING_MM)


@pytest.fixture
def detector() -> ChangeDetector:
    return partial(residual_detector.detect_with_residual, smoothing_mm=2.0)


def p(_: Tensor, after: Tensor) -> list[float]:
    return [0.05 ** (float(place.abs().max()) / LIMIT) for place in after]


def seen(
    one: RegisteredPair, detector: ChangeDetector, softness_mm: tuple[float, ...] = (0.4, 0.4, 0.4)
) -> float | None:
    return detectability.find_smallest_detectable_ml(
        detectability.measure_detection_curve(one, detector, SPACING_MM, softness_mm, p), 0.05
    )


def test_a_noisier_pair_shows_only_larger_changes_and_at_last_none(detector: ChangeDetector) -> None:
    quiet, usual, noisy = (seen(pair(noise), detector) for noise in (0.03, 0.08, 1.0))
    assert quiet is not None
    assert usual is not None
    assert quiet < usual
    assert noisy is None


def test_what_is_said_to_be_seen_is_seen_when_it_is_planted_elsewhere(detector: ChangeDetector) -> None:
    one = pair(0.08)
    smallest = seen(one, detector)
    assert smallest is not None
    radius = (3 * smallest * 1000 / (4 * np.pi)) ** (1 / 3) / SPACING_MM
    grid = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij"), -1).float()
    found = {}
    for share in (0.25, 1.5):
        hits = 0
        for centre in ((14, 15, 13), (30, 15, 27), (14, 33, 27), (30, 33, 13), (22, 24, 20)):
            away = (grid - torch.tensor(centre).float()).norm(dim=-1)
            ball = smooth_images((radius * share ** (1 / 3) + 0.5 - away).clamp(0, 1)[None, None], 0.3)[0, 0]
            later = one.b + PLANTED_CONTRAST * ball
            evidence = detector(replace(one, b=later), SPACING_MM)
            hits += float(evidence[away < radius + 2].abs().max()) > LIMIT
        found[share] = hits
    assert found[0.25] <= 2
    assert found[1.5] >= 4


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 1.0])
def test_volumes_that_are_left_out_would_not_change_what_is_said(noise: float, detector: ChangeDetector) -> None:
    tried = detectability.measure_detection_curve(pair(noise), detector, SPACING_MM, (0.4, 0.4, 0.4), p)
    volumes = [volume for volume, _ in tried]
    every = detectability.TESTED_VOLUMES_ML
    assert volumes == list(every[every.index(volumes[0]) : every.index(volumes[-1]) + 1])
    assert volumes[0] == every[0] or tried[0][1] > detectability.NOT_SEEN_P
    assert volumes[-1] == every[-1] or tried[-1][1] < detectability.EARLY_STOP_P


def test_thick_slices_hide_small_changes(detector: ChangeDetector) -> None:
    sharp, thick = seen(pair(0.05), detector), seen(pair(0.05), detector, (0.4, 0.4, 2.5))
    assert sharp is not None
    assert thick is not None
    assert thick > 1.05 * sharp


def test_a_pair_without_bright_tissue_promises_nothing(detector: ChangeDetector) -> None:
    assert (
        detectability.measure_detection_curve(pair(0.01, brightness=0.3), detector, SPACING_MM, (0.4, 0.4, 0.4), p)
        == []
    )
    assert detectability.find_smallest_detectable_ml([], 0.05) is None


def test_the_largest_volume_that_is_named_to_the_reader_is_the_last_one_that_is_tried() -> None:
    assert sorted(detectability.TESTED_VOLUMES_ML) == list(detectability.TESTED_VOLUMES_ML)
    assert detectability.TESTED_VOLUMES_ML[-1] == LARGEST_TESTED_ML


def test_the_same_pair_gives_the_same_answer(detector: ChangeDetector) -> None:
    assert seen(pair(0.05), detector) == seen(pair(0.05), detector)


def test_the_smallest_volume_lies_between_one_that_is_missed_and_one_that_is_seen() -> None:
    curve = [(0.25, 0.4), (0.5, 0.1), (1.0, 0.001)]
    found = detectability.find_smallest_detectable_ml(curve, 0.01)
    assert found == pytest.approx(0.5 * 2**0.5, rel=1e-3)  # 0.01 lies half-way from 0.1 to 0.001, in logarithms
    assert detectability.find_smallest_detectable_ml(curve, 0.5) == 0.25
    assert detectability.find_smallest_detectable_ml(curve, 0.0005) is None


def test_voxels_of_a_turned_scan_blur_along_the_pairs_own_axes() -> None:
    axial = np.diag([1.0, 1.0, 4.0, 1.0])
    assert detectability.compute_blur_sd_mm(axial, np.eye(4)) == pytest.approx(np.array([1, 1, 4]) / 12**0.5)
    turned = np.array([[1.0, 0, 0, 5], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert detectability.compute_blur_sd_mm(axial, turned) == pytest.approx(np.array([1, 4, 1]) / 12**0.5)
