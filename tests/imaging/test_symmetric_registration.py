"""Two scans of one patient are laid on each other: simulated ones of known pose, and real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from siamese_med.imaging import symmetric_registration, volume
from siamese_med.imaging.symmetric_registration import ScanPairPose
from siamese_med.imaging.volume import Volume
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.config import ScoreConfig

REAL = Path("../shared/real")
MIN_QUALITY = ScoreConfig().min_pose_quality
REACH_MM = 80.0
"""Errors are measured at the ends of an octahedron of this radius about the first scan's middle."""


@pytest.fixture(scope="module")
def taken(person: Anatomy, acquired: Callable[..., Acquisition]) -> dict[str, Acquisition]:
    """One patient in three poses, once in another contrast."""
    return {"first": acquired(person, 0), "again": acquired(person, 1), "T1w": acquired(person, 5, "T1w")}


def measure_error(first: Acquisition, second: Acquisition, pose: ScanPairPose) -> float:
    """How far, in mm, the pose leads places of the head from where they truly are; the largest distance."""
    ends = np.vstack([np.eye(3), -np.eye(3)]) * REACH_MM
    places = np.c_[ends, np.ones(6)].T
    places[:3] += (first.volume.affine @ [*np.asarray(first.volume.voxels.shape) / 2, 1])[:3, None]
    truth = np.linalg.inv(second.to_anatomy) @ first.to_anatomy @ places
    return float(np.linalg.norm((pose.matrix @ places - truth)[:3], axis=0).max())


@pytest.mark.parametrize("name", ["again", "T1w"])
def test_a_known_pose_is_found_in_one_contrast_and_in_two(taken: dict[str, Acquisition], name: str) -> None:
    first, second = taken["first"], taken[name]
    still = ScanPairPose(np.eye(4), 1.0, 1.0)
    assert measure_error(first, second, still) > 5  # it did move
    pose = symmetric_registration.register_scan_pair(first.volume, second.volume)
    assert measure_error(first, second, pose) < 1.5
    assert pose.quality > MIN_QUALITY
    back = symmetric_registration.register_scan_pair(second.volume, first.volume)
    assert measure_error(second, first, back) < 1.5
    assert np.abs(back.matrix @ pose.matrix - np.eye(4)).max() < 0.3
    assert back.quality == pytest.approx(pose.quality, abs=0.05)


def test_the_pose_is_rigid(taken: dict[str, Acquisition]) -> None:
    pose = symmetric_registration.register_scan_pair(taken["first"].volume, taken["again"].volume)
    np.testing.assert_allclose(pose.matrix[:3, :3] @ pose.matrix[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(pose.matrix[:3, :3]) == pytest.approx(1, abs=1e-6)


def test_a_scan_stays_exactly_where_it_is_against_itself(taken: dict[str, Acquisition]) -> None:
    scan = taken["first"].volume
    pose = symmetric_registration.register_scan_pair(scan, scan)
    assert np.array_equal(pose.matrix, np.eye(4))
    assert pose.correlation_ratio > 0.99


def test_the_scanners_coordinates_stay_where_nothing_is_clearly_better(taken: dict[str, Acquisition]) -> None:
    """A third of a millimetre, in another contrast, is less than two contrasts can tell."""
    first, other = taken["first"], taken["T1w"]
    true = np.linalg.inv(first.to_anatomy) @ other.to_anatomy
    true[0, 3] += 0.3
    moved = replace(other, volume=Volume(other.volume.voxels, true @ other.volume.affine))
    pose = symmetric_registration.register_scan_pair(first.volume, moved.volume)
    assert np.array_equal(pose.matrix, np.eye(4))


def test_what_cannot_lie_on_each_other_is_of_low_quality(taken: dict[str, Acquisition]) -> None:
    scan = taken["first"].volume
    noise = Volume(np.random.default_rng(0).random(scan.voxels.shape, dtype=np.float32), scan.affine)
    empty = Volume(np.zeros((20, 20, 20), dtype=np.float32), np.diag([5.0, 5.0, 5.0, 1.0]))
    for other in (noise, empty):
        pose = symmetric_registration.register_scan_pair(scan, other)
        assert np.isfinite(pose.matrix).all()
        assert pose.quality < MIN_QUALITY


def test_only_the_region_counts_where_both_scans_have_one(taken: dict[str, Acquisition]) -> None:
    """What lies outside the regions has moved elsewhere: they lie right although the bodies do not."""
    first, second = taken["first"], taken["again"]
    regions, spoiled = [], []
    for one in (first, second):
        voxels = one.volume.voxels.copy()
        middle = tuple(slice(n // 4, 3 * n // 4) for n in voxels.shape)
        region = np.zeros(voxels.shape, dtype=np.float32)
        region[middle] = 1
        outside = voxels.copy()
        outside[middle] = 0
        turned = outside[:, ::-1] if one is second else outside
        regions.append(Volume(region, one.volume.affine))
        spoiled.append(Volume(np.where(region > 0, voxels, turned), one.volume.affine))
    pose = symmetric_registration.register_scan_pair(spoiled[0], spoiled[1], (regions[0], regions[1]))
    assert measure_error(first, second, pose) < 2


def test_thick_slices_of_a_growing_tumour_lie_on_each_other_there_and_back() -> None:
    folder = REAL / "brain_tumor_progression" / "sub-01"
    if not folder.is_dir():
        pytest.skip("../shared/real is not here: real tumour patients are not tried")
    first, second = (volume.read_volume(folder / f"ses-0{number}/T1post.nii.gz") for number in (1, 2))
    there = symmetric_registration.register_scan_pair(first, second)
    back = symmetric_registration.register_scan_pair(second, first)
    assert min(there.quality, back.quality) > 2 * MIN_QUALITY
    places = np.c_[np.vstack([np.eye(3), -np.eye(3)]) * REACH_MM, np.ones(6)].T
    assert np.linalg.norm((back.matrix @ there.matrix @ places - places)[:3], axis=0).max() < 1
