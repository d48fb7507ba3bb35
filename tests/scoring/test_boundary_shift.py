"""Boundaries that moved are seen with sign and size; what an acquisition does to a scan is not taken for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from siamese_med.imaging.resampling import smooth_along_axes, smooth_images
from siamese_med.scoring.change import boundary_shift, pair_registration
from siamese_med.scoring.change.pair_registration import RegisteredPair
from siamese_med.simulation import anatomy
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition
from tests.registered_pairs import make_pair

SPACING_MM = 2.0
SIDE = 48
CENTRE = torch.tensor([22.0, 25.0, 24.0])
GROWN_ML = 1.0
SMALL_ML = 2.5


def tissue() -> Tensor:
    """Mottled tissue around 1."""
    noise = torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    mottled = smooth_images(noise, 2.0)
    return 1 + 0.05 * mottled / mottled.std()


def with_ball(ml: float, level: float) -> Tensor:
    """Tissue with a ball of that volume and level in it, its edge one voxel wide: (1, 1, i, j, k)."""
    radius = (3000 * ml / (4 * math.pi)) ** (1 / 3) / SPACING_MM
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIDE).float()] * 3, indexing="ij"), -1)
    ball = (radius + 0.5 - (grid - CENTRE).norm(dim=-1)).clamp(0, 1)
    return tissue() * (1 - ball) + level * ball


def laid(earlier: Tensor, later: Tensor, noise: float = 0.02) -> RegisteredPair:
    """A pair of scans (1, 1, i, j, k) with noise of their own, known but for the outermost voxels."""
    inside = torch.zeros(SIDE, SIDE, SIDE, dtype=torch.bool)
    inside[3:-3, 3:-3, 3:-3] = True
    chance = torch.Generator().manual_seed(1)
    a, b = (scan[0, 0] + noise * torch.randn(inside.shape, generator=chance) for scan in (earlier, later))
    return make_pair(a, b, inside, SPACING_MM)


@pytest.fixture(scope="module")
def grown() -> RegisteredPair:
    """A dark ball that grew by GROWN_ML."""
    return laid(with_ball(SMALL_ML, 0.2), with_ball(SMALL_ML + GROWN_ML, 0.2))


def test_swapping_the_scans_changes_the_sign_alone(grown: RegisteredPair) -> None:
    forth = boundary_shift.measure_boundary_shift(grown, SPACING_MM)
    back = boundary_shift.measure_boundary_shift(replace(grown, a=grown.b, b=grown.a), SPACING_MM)
    for one, other in ((forth.relative, back.relative), (forth.deviation, back.deviation)):
        torch.testing.assert_close(one, -other, rtol=0, atol=1e-6)
    assert forth.ml == pytest.approx(-back.ml, abs=1e-6)
    assert forth.figure == pytest.approx(back.figure, abs=1e-6)
    assert forth.figure > 0


def test_a_scan_has_not_changed_against_itself(grown: RegisteredPair) -> None:
    nothing = boundary_shift.measure_boundary_shift(replace(grown, b=grown.a), SPACING_MM)
    assert (nothing.ml, nothing.figure) == (0, 0)
    assert not nothing.relative.any()
    assert not nothing.deviation.any()


@pytest.mark.parametrize("level", [0.2, 1.8], ids=["dark", "bright"])
@pytest.mark.parametrize("sign", [1, -1], ids=["grown", "shrunk"])
def test_a_ball_that_changes_is_found_with_its_sign_size_and_place(level: float, sign: int) -> None:
    scans = [with_ball(SMALL_ML, level), with_ball(SMALL_ML + GROWN_ML, level)]
    found = boundary_shift.measure_boundary_shift(laid(*scans[::sign]), SPACING_MM)
    assert GROWN_ML / 2 < sign * found.ml < 1.5 * GROWN_ML
    strongest = np.unravel_index(int(found.deviation.abs().argmax()), found.deviation.shape)
    assert (
        np.linalg.norm(np.array(strongest) - CENTRE.numpy()) * SPACING_MM
        < boundary_shift.WINDOW_SD_MM + boundary_shift.GRID_SPACING_MM
    )
    assert sign * float(found.relative[strongest]) > 0


def test_twice_the_growth_is_about_twice_the_volume() -> None:
    less, more = (
        boundary_shift.measure_boundary_shift(laid(with_ball(3, 0.2), with_ball(3 + ml, 0.2)), SPACING_MM).ml
        for ml in (0.4, 0.8)
    )
    assert more / less == pytest.approx(2, rel=0.25)


def shifted(scan: Tensor) -> Tensor:
    return (scan + scan.roll(1, 2)) / 2


@pytest.mark.parametrize(
    "acquisition",
    [
        lambda scan: scan,
        lambda scan: 0.9 * scan + 0.05,
        lambda scan: scan * torch.linspace(0.95, 1.05, SIDE)[:, None],
        lambda scan: smooth_along_axes(scan, (0.0, 0.0, 0.7)),
        shifted,
    ],
    ids=["noise", "contrast", "bias", "thick slices", "half a voxel aside"],
)
def test_what_an_acquisition_does_is_little_beside_growth(
    acquisition: Callable[[Tensor], Tensor], grown: RegisteredPair
) -> None:
    scan = with_ball(SMALL_ML, 0.2)
    again = boundary_shift.measure_boundary_shift(laid(scan, acquisition(scan)), SPACING_MM)
    assert again.figure < boundary_shift.measure_boundary_shift(grown, SPACING_MM).figure / 2


def test_what_lies_outside_does_not_count(grown: RegisteredPair) -> None:
    other = torch.where(grown.inside, grown.b, torch.zeros(()))
    cut, whole = (
        boundary_shift.measure_boundary_shift(replace(grown, b=scan), SPACING_MM) for scan in (other, grown.b)
    )
    torch.testing.assert_close(cut.deviation, whole.deviation, rtol=0, atol=0.2)
    assert not whole.deviation[~grown.inside].any()


def test_nothing_is_found_where_the_scans_share_nothing(grown: RegisteredPair) -> None:
    found = boundary_shift.measure_boundary_shift(replace(grown, inside=torch.zeros_like(grown.inside)), SPACING_MM)
    assert (found.ml, found.figure) == (0, 0)


@pytest.mark.parametrize("contrast", ["FLAIR", "T2w"])
def test_larger_ventricles_grow_and_smaller_ones_shrink_be_fluid_dark_or_bright(
    person: Anatomy, acquired: Callable[..., Acquisition], contrast: str
) -> None:
    later = anatomy.enlarge_ventricles(person, 10_000)
    scans = [acquired(person, 10, contrast).volume, acquired(later, 11, contrast).volume]
    pair = pair_registration.register_pair(scans[0], scans[1], (None, None), 3.0)
    for sign, one in ((1, pair), (-1, pair.swap())):
        assert sign * boundary_shift.measure_boundary_shift(one, 3.0).ml > 0.3
