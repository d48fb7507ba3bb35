"""Scanner units to comparable numbers."""

from __future__ import annotations

import pytest
import torch

from siamese_med.imaging.intensity import (
    COMPRESSION_RANGE,
    MAX_NORMALISED_INTENSITY,
    compress_intensity,
    measure_median_brightness,
    normalise_intensity,
)


@pytest.fixture(scope="module")
def scan() -> torch.Tensor:
    """Air around 20, tissue around 500, a bright vessel."""
    drawn = torch.Generator().manual_seed(0)
    voxels = 20 + 2 * torch.randn(20, 20, 20, generator=drawn)
    voxels[5:15, 5:15] = 500 + 30 * torch.randn(10, 10, 20, generator=drawn)
    voxels[9, 9, :4] = 5000
    return voxels


def test_air_is_zero_and_the_middle_of_the_tissue_one(scan: torch.Tensor) -> None:
    scaled = normalise_intensity(scan, torch.ones_like(scan))
    assert float(scaled[:4].median()) == pytest.approx(0, abs=0.02)
    assert float(scaled[5:15, 5:15].median()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.01, 0.0), (1.0, -1024.0), (2.5, 700.0)])
def test_the_scanners_gain_and_offset_do_not_matter(scan: torch.Tensor, gain: float, offset: float) -> None:
    valid = torch.ones_like(scan)
    torch.testing.assert_close(
        normalise_intensity(gain * scan + offset, valid), normalise_intensity(scan, valid), atol=1e-3, rtol=1e-3
    )


def test_the_brightest_is_cut_at_the_ceiling(scan: torch.Tensor) -> None:
    assert float(normalise_intensity(scan, torch.ones_like(scan)).max()) == MAX_NORMALISED_INTENSITY


def test_what_is_not_valid_is_zero_and_does_not_count(scan: torch.Tensor) -> None:
    valid = torch.ones_like(scan)
    valid[:, :, 10:] = 0
    spoiled = scan.clone()
    spoiled[:, :, 10:] = 1e6
    scaled = normalise_intensity(spoiled, valid)
    assert scaled[:, :, 10:].abs().max() == 0
    torch.testing.assert_close(scaled[:, :, :10], normalise_intensity(scan[:, :, :10], valid[:, :, :10]))


def test_a_flat_or_empty_scan_gives_finite_numbers() -> None:
    flat = torch.full((5, 5, 5), 7.0)
    assert torch.isfinite(normalise_intensity(flat, torch.ones_like(flat))).all()
    assert normalise_intensity(flat, torch.zeros_like(flat)).abs().max() == 0


def test_a_step_between_rare_tissues_counts_less_than_one_out_of_the_common_tissue() -> None:
    brightness = torch.tensor([0.1, 0.45, 1.0, 1.35, 1.43, 1.78])
    _, fluid_lifted, _, new_lesion, _, old_lesion_brighter = compress_intensity(brightness, 1.0).diff(
        prepend=torch.zeros(1)
    )
    assert float(new_lesion) > 2 * float(fluid_lifted) > 0
    assert float(new_lesion) > 2 * float(old_lesion_brighter) > 0


def test_compressed_brightness_keeps_its_order_its_middle_and_its_bounds() -> None:
    brightness = torch.linspace(0, MAX_NORMALISED_INTENSITY, 50)
    seen = compress_intensity(brightness, 1.0)
    assert (seen.diff() >= 0).all()
    assert (seen.abs() <= COMPRESSION_RANGE).all()
    assert float(compress_intensity(torch.tensor(1.0), 1.0)) == 0
    torch.testing.assert_close(compress_intensity(2 - brightness, 1.0), -seen)


def test_the_middle_is_that_of_both_scans_inside_the_body() -> None:
    a, b, inside = torch.full((4, 4, 4), 1.0), torch.full((4, 4, 4), 1.2), torch.zeros(4, 4, 4)
    inside[:2] = 1
    a[2:] = b[2:] = 50.0
    assert 1.0 <= measure_median_brightness(a, b, inside) <= 1.2 + 1e-6
    assert measure_median_brightness(a, b, torch.zeros(4, 4, 4)) == 0
