"""Volumes onto other grids, and smoothing, against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamese_med.imaging import resampling
from siamese_med.imaging.volume import Volume


def test_resampling_onto_the_own_grid_changes_nothing() -> None:
    voxels = np.random.default_rng(0).random((7, 9, 5)).astype(np.float32)
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    same, valid = resampling.resample_volume(Volume(voxels, affine), affine, voxels.shape)[0]
    np.testing.assert_allclose(same.numpy(), voxels, atol=1e-5)
    assert valid.min() == 1


def test_resampling_reads_a_linear_ramp_exactly_in_millimetres() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    i, j, k = np.indices((12, 12, 12))
    ramp = Volume((2 * i + 10 * 3 * j + 100 * 4 * k).astype(np.float32), affine)  # x + 10 y + 100 z
    target = np.array([[1.1, 0, 0, 4], [0, 1.7, 0, 6], [0, 0, 1.3, 8], [0, 0, 0, 1]])
    values = resampling.resample_volume(ramp, target, (5, 5, 5))[0, 0].numpy()
    world = np.moveaxis(np.indices((5, 5, 5)), 0, -1) @ target[:3, :3].T + target[:3, 3]
    np.testing.assert_allclose(values, world @ [1, 10, 100], rtol=1e-4)


def test_a_finer_scan_is_averaged_and_not_picked_from() -> None:
    rng = np.random.default_rng(0)
    noise = Volume(rng.standard_normal((32, 32, 32)).astype(np.float32), np.eye(4))
    coarse = resampling.resample_volume(
        noise, np.diag([4.0, 4, 4, 1]) + np.pad([[1.5]] * 3, ((0, 1), (3, 0))), (8, 8, 8)
    )[0, 0]
    block = noise.voxels.reshape(8, 4, 8, 4, 8, 4).mean((1, 3, 5))
    np.testing.assert_allclose(coarse.numpy(), block, atol=1e-5)


def test_outside_the_scan_is_zero_and_marked() -> None:
    ones = Volume(np.ones((4, 4, 4), dtype=np.float32), np.eye(4))
    values, valid = resampling.resample_volume(ones, np.eye(4), (8, 4, 4))[0]
    assert valid[:4].min() == values[:4].min() == 1
    assert valid[4:].max() == values[4:].max() == 0


def test_smoothing_keeps_the_sum_and_gives_the_asked_width() -> None:
    point = torch.zeros(1, 1, 25, 25, 25)
    point[0, 0, 12, 12, 12] = 1
    blurred = resampling.smooth_images(point, 2.0)[0, 0]
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-4)
    axis = torch.arange(25) - 12.0
    assert float((blurred.sum((1, 2)) * axis**2).sum()) ** 0.5 == pytest.approx(2.0, abs=0.05)


def test_smoothing_leaves_a_flat_image_flat_to_its_edge() -> None:
    torch.testing.assert_close(
        resampling.smooth_images(torch.full((1, 1, 9, 9, 9), 3.0), 1.5), torch.full((1, 1, 9, 9, 9), 3.0)
    )
