"""A scan on the grid of the segmentation network."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.brain import head_grid
from siamese_med.imaging.volume import Volume


@pytest.mark.parametrize(("count", "edge"), [(64, 0.72), (36, 4.0), (20, 6.5), (90, 2.0), (1, 5.0)])
def test_a_linear_ramp_stays_a_ramp_whatever_the_voxels_are(count: int, edge: float) -> None:
    weights = head_grid.make_axis_weights(count, edge).numpy()
    assert np.allclose(weights.sum(1), 1, atol=1e-5)
    sources = (np.arange(count) - (count - 1) / 2) * edge
    targets = (np.arange(len(weights)) - (len(weights) - 1) / 2) * head_grid.GRID_MM
    reached = np.clip(targets, sources[0], sources[-1])
    inner = np.abs(targets) < abs(sources[0]) - head_grid.GRID_MM
    assert np.allclose((weights @ sources)[inner], reached[inner], atol=0.51 * edge if edge < 2 else 1e-3)


def test_the_order_of_the_axes_does_not_matter_and_places_are_kept() -> None:
    rng = np.random.default_rng(0)
    stored = Volume(rng.random((30, 24, 20), dtype=np.float32), np.diag([1.5, 2.5, 3.0, 1.0]))
    turned = Volume(stored.voxels[::-1].transpose(2, 0, 1), np.zeros((4, 4)))
    turned.affine[:, 0], turned.affine[:, 1], turned.affine[:, 2] = (
        stored.affine[:, 2],
        -stored.affine[:, 0],
        stored.affine[:, 1],
    )
    turned.affine[:, 3] = stored.affine @ [29, 0, 0, 1]
    first, second = head_grid.resample_to_grid(stored), head_grid.resample_to_grid(turned)
    assert np.allclose(first.affine, second.affine, atol=1e-6)
    assert np.allclose(first.voxels, second.voxels, atol=1e-5)
    assert np.allclose(first.spacing_mm, head_grid.GRID_MM)


def test_a_crop_goes_beyond_the_scan_with_zeros() -> None:
    voxels = np.ones((10, 10, 10), dtype=np.float32)
    box, first = head_grid.crop_around(voxels, np.array([0, 5, 9]), (8, 8, 8))
    assert first.tolist() == [-4, 1, 5]
    assert box.sum() == 4 * 8 * 5
    assert box[4, 0, 0] == 1


def test_the_brain_is_sought_below_the_top_of_the_head_not_in_the_shoulders() -> None:
    scaled = np.zeros((120, 120, 150), dtype=np.float32)
    scaled[30:90, 20:100, 60:140] = 1  # a head whose top is at 140
    scaled[0:120, 30:90, 0:40] = 1  # shoulders
    centre = head_grid.guess_brain_centre(scaled)
    assert np.abs(centre - [60, 60, 100]).max() <= 3
