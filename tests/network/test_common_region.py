"""The region that identity looks at: one short field of view or one bad pose costs the other scans nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.volume import make_centred_affine
from siamese_med.network.common_region import (
    MIN_SHARED_BODY_FRACTION,
    RIM_VOXELS,
    extract_bodies,
    find_common_region,
    find_usual_body,
    find_voting_scans,
)
from tests.commands import ROOT

SHAPE = (48, 56, 48)
HEADS = ROOT.parent / "shared" / "real" / "ixi_2mm"
Scan = NDArray[np.float32]


def head(radius: float) -> Scan:
    """An egg whose longest axis is the second one."""
    grid = np.indices(SHAPE) - np.array([23.5, 27.5, 23.5])[:, None, None, None]
    away = np.sqrt((grid**2 / np.array([1.0, 1.5, 1.2])[:, None, None, None]).sum(0))
    return (away < radius).astype(np.float32)


@pytest.fixture
def scans() -> list[Scan]:
    """Ten heads that differ in size by a tenth."""
    return [head(radius) for radius in np.linspace(17.5, 19.3, 10)]


def volume_of(scans: list[Scan]) -> float:
    return float(find_common_region(extract_bodies(scans)).sum())


def former_volume_of(scans: list[Scan]) -> float:
    """What nearly all scans show, whatever they show."""
    shared = extract_bodies(scans).mean(0) >= MIN_SHARED_BODY_FRACTION
    return float(binary_erosion(shared, iterations=RIM_VOXELS).sum())


def test_one_short_field_of_view_among_ten_scans_no_longer_shrinks_the_region(scans: list[Scan]) -> None:
    whole = volume_of(scans)
    short = [scan.copy() for scan in scans]
    short[4][:, :, 24:] = 0
    assert volume_of(short) >= 0.99 * whole
    assert former_volume_of(short) < 0.6 * whole  # so this test can fail


def test_one_bad_pose_among_ten_scans_no_longer_shrinks_the_region(scans: list[Scan]) -> None:
    whole = volume_of(scans)
    for pose in (np.roll(scans[4], 9, axis=0), np.roll(scans[4], (5, 5, 5), (0, 1, 2))):
        wrong = [*scans[:4], pose, *scans[5:]]
        assert volume_of(wrong) >= 0.99 * whole
        assert former_volume_of(wrong) < 0.8 * whole


def test_every_scan_that_votes_shows_the_body_throughout_the_region(scans: list[Scan]) -> None:
    region = find_common_region(extract_bodies(scans))
    assert all(scan[region > 0].all() for scan in scans)
    assert find_voting_scans(extract_bodies(scans)).all()


def test_where_most_scans_are_slabs_the_slab_is_the_region(scans: list[Scan]) -> None:
    slabs = [scan.copy() for scan in scans]
    for scan in slabs[:7]:
        scan[:, :, 30:] = 0
    region = find_common_region(extract_bodies(slabs))
    assert region.any()
    assert not region[:, :, 30:].any()


def test_upper_and_lower_halves_have_no_common_region_but_the_usual_body(scans: list[Scan]) -> None:
    halves = [scan.copy() for scan in scans]
    for number, scan in enumerate(halves):
        scan[:, :, slice(24) if number % 2 else slice(24, None)] = 0
    bodies = extract_bodies(halves)
    assert find_voting_scans(bodies).all()
    assert find_common_region(bodies).sum() > 0.5 * find_usual_body(bodies).sum()


def real_heads() -> list[Scan]:
    """Five adults on one grid of 4 mm, centred on their centres of mass; they are not aligned otherwise."""
    grid, found = make_centred_affine((48, 56, 48), 4.0), []
    for path in sorted(HEADS.glob("*.nii.gz")):
        scan = volume.read_volume(path)
        place = np.eye(4)
        place[:3, 3] = resampling.centre_of_mass(scan)
        voxels, valid = resampling.resample_volume(scan, place @ grid, (48, 56, 48))[0]
        found.append(normalise_intensity(voxels, valid).numpy())
    return found


@pytest.mark.skipif(not HEADS.is_dir(), reason=f"real heads are not here: {HEADS}")
def test_on_real_heads_a_short_field_of_view_costs_less_than_a_twentieth() -> None:
    heads = real_heads()
    whole = volume_of(heads)
    assert whole * 0.064 > 400  # ml
    cut = heads[0].copy()
    cut[:, :, 28:] = 0
    assert volume_of([cut, *heads[1:], *heads[1:]]) >= 0.95 * whole
