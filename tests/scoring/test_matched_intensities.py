"""Brightness that two machines give one anatomy differently is no change: coil fields and contrast curves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from siamese_med.imaging.resampling import smooth_images
from siamese_med.scoring.change.pair_registration import match_intensities

SPACING_MM = 1.5
EDGE = 72


@pytest.fixture(scope="module")
def anatomy() -> tuple[Tensor, Tensor]:
    """Two tissues with a few bright vessels, normalised (i, j, k), and the mask of the body."""
    rng = torch.Generator().manual_seed(1)
    folds = smooth_images(torch.randn(1, 1, EDGE, EDGE, EDGE, generator=rng), 2.0)[0, 0]
    tissue = torch.where(folds > 0, 1.0, 0.75)
    vessels = smooth_images(torch.rand(1, 1, EDGE, EDGE, EDGE, generator=rng), 1.0)[0, 0]
    tissue[vessels > torch.quantile(vessels.flatten()[::7], 0.998)] = 2.2
    axis = torch.linspace(-1, 1, EDGE)
    inside = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2) < 0.9
    return smooth_images(tissue[None, None], 0.7)[0, 0] * inside, inside


def _coil_field(strength: float) -> Tensor:
    """Brightness (i, j, k) that is `1 + strength` in the middle and falls towards the edge."""
    axis = torch.linspace(-1, 1, EDGE) ** 2
    return 1 + strength * torch.exp(-2 * (axis[:, None, None] + axis[None, :, None] + axis[None, None, :]))


@pytest.mark.parametrize("turned", [False, True])
def test_what_a_coil_makes_bright_is_not_stretched_to_the_brightness_of_vessels(
    anatomy: tuple[Tensor, Tensor], turned: bool
) -> None:
    scan, inside = anatomy
    pair = (scan * _coil_field(0.6), scan) if turned else (scan, scan * _coil_field(0.6))
    a, b = match_intensities(*pair, inside, SPACING_MM)
    left = (b - a)[inside].abs() / a[inside].median()
    assert float(torch.quantile(left[::3], 0.999)) < 0.08
    assert float(left.max()) < 0.15


def test_the_order_of_the_scans_changes_the_sign_alone(anatomy: tuple[Tensor, Tensor]) -> None:
    scan, inside = anatomy
    other = (scan * _coil_field(0.3)) ** 1.2
    a, b = match_intensities(scan, other, inside, SPACING_MM)
    there, back = match_intensities(other, scan, inside, SPACING_MM)
    np.testing.assert_allclose(a, back, atol=1e-4)
    np.testing.assert_allclose(b, there, atol=1e-4)


def test_a_contrast_curve_is_no_change_and_a_lesion_stays_one(anatomy: tuple[Tensor, Tensor]) -> None:
    scan, inside = anatomy
    later = scan.clone()
    lesion = torch.zeros_like(inside)
    lesion[30:34, 36:40, 36:40] = True
    later[lesion] += 0.5
    a, b = match_intensities(scan, later**1.3, inside, SPACING_MM)
    left = (b - a) / a[inside].median()
    assert float(left[lesion].mean()) > 0.3
    assert float(torch.quantile(left[inside & ~lesion].abs()[::3], 0.99)) < 0.05


def test_a_large_lesion_stays_whole_and_darkens_nothing_around_it(anatomy: tuple[Tensor, Tensor]) -> None:
    scan, inside = anatomy
    axes = [(torch.arange(EDGE) - float(middle)) * SPACING_MM for middle in (36, 30, 36)]
    away = (axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2).sqrt()
    lesion, around = away < 14, (away > 16) & (away < 24) & inside  # 11 ml
    later = scan * _coil_field(0.3)
    without = match_intensities(scan, later, inside, SPACING_MM)
    a, b = match_intensities(scan, torch.where(lesion, 1.5 * later, later), inside, SPACING_MM)
    change = ((b - a) - (without[1] - without[0])) / a[inside].median()
    assert float(change[lesion].mean()) > 0.65 * 0.5 * float((scan[lesion] / a[inside].median()).mean())
    assert abs(float(change[around].mean())) < 0.02
