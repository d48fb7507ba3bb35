"""The detector that ships: its evidence turns with the dates, and it sees lesions where the plain residual sees few."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as functional

from siamese_med.scoring.change import change_map, change_unet, residual_detector
from siamese_med.scoring.change.change_unet import ChangeUNet
from siamese_med.scoring.change.pair_registration import RegisteredPair
from siamese_med.scoring.change.pretrained_detector import NETWORK_MM, PretrainedDetector, compute_evidence
from tests.registered_pairs import make_pair

DETECT = PretrainedDetector(smoothing_mm=2.0)
SHAPE = (56, 64, 48)


def draw_pair(seed: int, spacing_mm: float = NETWORK_MM) -> RegisteredPair:
    """A ball of uneven white and grey tissue, scanned twice."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.9
    coarse = torch.randn(1, 1, *(n // 4 for n in SHAPE), generator=generator)
    tissue = functional.interpolate(coarse, size=SHAPE, mode="trilinear", align_corners=False)[0, 0]
    head = torch.where(tissue > 0.3, 0.9, 1.1) * inside
    a, b = (head + 0.02 * torch.randn(SHAPE, generator=generator) for _ in range(2))
    return make_pair(a, b, inside, spacing_mm)


def add_lesion(pair: RegisteredPair, radius: float, brighter: float) -> tuple[RegisteredPair, torch.Tensor]:
    axes = torch.meshgrid(*(torch.arange(n) - n // 2 for n in SHAPE), indexing="ij")
    lesion = sum(axis**2 for axis in axes) < radius**2
    return replace(pair, b=torch.where(lesion, pair.b + brighter, pair.b)), lesion


def test_exchanged_dates_exchange_the_sign_and_a_scan_with_itself_shows_nothing() -> None:
    pair, _ = add_lesion(draw_pair(0), 3.0, 0.5)
    evidence = DETECT(pair, NETWORK_MM)
    torch.testing.assert_close(DETECT(pair.swap(), NETWORK_MM), -evidence, atol=1e-4, rtol=1e-4)
    assert not DETECT(replace(pair, b=pair.a), NETWORK_MM).any()
    assert not evidence[~pair.inside].any()


@pytest.mark.parametrize("brighter", [0.5, -0.5])
def test_a_lesion_that_appears_is_the_strongest_place_and_has_its_sign(brighter: float) -> None:
    pair, lesion = add_lesion(draw_pair(1), 3.0, brighter)
    evidence = DETECT(pair, NETWORK_MM)
    assert lesion.flatten()[evidence.abs().argmax()]
    assert evidence[lesion].median() * brighter > 0
    quiet = DETECT(draw_pair(1), NETWORK_MM)
    assert evidence.abs().max() > quiet.abs().max() + 2


def test_a_pair_on_another_grid_is_judged_on_the_grid_of_the_network() -> None:
    fine, lesion = add_lesion(draw_pair(2), 4.0, 0.5)
    half = [functional.avg_pool3d(scan[None, None], 2)[0, 0] for scan in (fine.a, fine.b, fine.inside.float())]
    coarse = make_pair(half[0], half[1], half[2] > 0.5, 2 * NETWORK_MM)
    evidence = DETECT(coarse, 2 * NETWORK_MM)
    assert evidence.shape == coarse.a.shape
    assert functional.max_pool3d(lesion.float()[None, None], 2)[0, 0].flatten()[evidence.argmax()]


def test_what_is_no_brain_is_left_to_the_residual() -> None:
    pair, _ = add_lesion(draw_pair(3), 3.0, 0.5)
    body = replace(pair, space=replace(pair.space, whole_body=True))
    torch.testing.assert_close(DETECT(body, NETWORK_MM), residual_detector.detect_with_residual(body, NETWORK_MM, 2.0))


def test_a_pair_that_shares_nothing_has_no_evidence() -> None:
    nothing = torch.zeros(20, 20, 20)
    assert not compute_evidence(nothing, nothing, nothing.bool(), ChangeUNet()).any()


def test_gain_of_both_scans_does_not_matter() -> None:
    pair, _ = add_lesion(draw_pair(4), 3.0, 0.5)
    once, twice = (change_unet.make_inputs(k * pair.a, k * pair.b, pair.inside) for k in (1, 3))
    torch.testing.assert_close(once, twice, atol=1e-4, rtol=1e-4)


def test_a_large_change_does_not_raise_the_level_that_its_figure_is_compared_at() -> None:
    large, _ = add_lesion(draw_pair(3), 12.0, 0.5)
    quiet, found = (measure_pair(pair) for pair in (draw_pair(3), large))
    assert found.figure > 3 * quiet.figure
    assert found.level < 1.5 * quiet.level


def measure_pair(pair: RegisteredPair) -> change_map.MapSummary:
    return change_map.summarise_map(DETECT(pair, NETWORK_MM), pair, change_map.get_level_quantile(DETECT))
