"""Values and slopes at points in mm, against a ramp whose value and slope are known everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from siamese_med.imaging import interpolation
from siamese_med.imaging.volume import Volume

SLOPE = np.array([1.0, -2.0, 0.5])
HERE = torch.eye(4, dtype=torch.float64)[None]


def ramp(shape: tuple[int, int, int], spacing: tuple[float, float, float], turn: float = 0.0) -> Volume:
    """x - 2 y + z / 2, x, y, z in mm, on a grid of its own."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0, turn, 0]).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = (-10, 4, -7)
    world = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume((world @ SLOPE).astype(np.float32), affine)


def stacked(*scans: Volume, masks: tuple[np.ndarray | None, ...] | None = None) -> interpolation.PackedVolumes:
    return interpolation.pack_volumes(scans, masks or (None,) * len(scans), 0.1, 0.0, "cpu")


def middle(scan: Volume, count: int = 50) -> torch.Tensor:
    """Points (3, n) in the inner half of a scan, in mm, where the cut tails do not reach."""
    inner = np.random.default_rng(0).uniform(0.35, 0.65, (count, 3)) * np.asarray(scan.voxels.shape)
    return torch.tensor((inner @ scan.affine[:3, :3].T + scan.affine[:3, 3]).T, dtype=torch.float32)


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_a_ramp_has_its_slope_everywhere_whatever_its_grid_and_company(turn: float) -> None:
    scans = ramp((20, 24, 16), (1, 2, 3), turn), ramp((12, 14, 30), (2, 2, 1))
    both = stacked(*scans)
    for number, scan in enumerate(scans):
        points = middle(scan)
        value, slope, valid = interpolation.sample_volumes(both, torch.tensor([number]), HERE, points)
        assert valid.all()
        scale = slope[0, 0].mean() / SLOPE[0]
        np.testing.assert_allclose(
            slope[0].numpy(), np.outer(SLOPE, np.ones(points.shape[1])) * float(scale), rtol=1e-3
        )
        expected = SLOPE @ points.numpy() * float(scale)
        np.testing.assert_allclose(value[0] - value[0].mean(), expected - expected.mean(), atol=1e-3)


def test_a_pose_moves_the_points_and_not_the_scan() -> None:
    scan = ramp((20, 20, 20), (2, 2, 2))
    pose = HERE.clone()
    pose[0, :3, 3] = torch.tensor([1.0, 2.0, -3.0])
    points, owners = middle(scan), torch.tensor([0])
    there = interpolation.sample_volumes(stacked(scan), owners, pose, points)[0]
    direct = interpolation.sample_volumes(stacked(scan), owners, HERE, points + pose[0, :3, 3:].float())[0]
    torch.testing.assert_close(there, direct)


def test_outside_the_scan_and_outside_its_mask_nothing_is_valid() -> None:
    scan = ramp((20, 20, 20), (2, 2, 2))
    mask = np.zeros(scan.voxels.shape, dtype=bool)
    mask[:10] = True
    near, far = scan.affine @ [10 + interpolation.MASK_MARGIN_VOXELS - 1, 9, 9, 1], scan.affine @ [15, 9, 9, 1]
    points = torch.tensor(np.stack([near[:3], far[:3], far[:3] + 40], 1), dtype=torch.float32)
    valid = [
        interpolation.sample_volumes(stacked(scan, masks=masks), torch.tensor([0]), HERE, points)[2][0].tolist()
        for masks in (None, (mask,))
    ]
    assert valid == [[True, True, False], [True, False, False]]


def test_a_scan_of_one_slice_is_read_without_error() -> None:
    scan = Volume(np.random.default_rng(0).random((9, 9, 1), dtype=np.float32), np.diag([2.0, 2, 5, 1]))
    value, slope, valid = interpolation.sample_volumes(
        stacked(scan), torch.tensor([0]), HERE, torch.tensor([[8.0], [8.0], [0.0]])
    )
    assert torch.isfinite(value).all()
    assert float(slope[0, 2, 0]) == 0
    assert valid.all()


def test_the_range_of_intensities_is_that_of_all_planes_of_a_scan() -> None:
    """Evenly spaced, 10,000 or 20,000 of these voxels would lie in one plane or two, and these are in air."""
    scan = ramp((100, 100, 40), (1, 1, 1))
    tissue = np.random.default_rng(0).uniform(100, 200, scan.voxels.shape)
    scan.voxels[...] = np.where(np.arange(40) % 20 == 0, 0, tissue)
    found = interpolation.pack_volumes([scan], [None], 1.0, 0.0, "cpu")
    assert float(found.voxels.view(100, 100, 40)[..., 1:20].std()) > 0.5
