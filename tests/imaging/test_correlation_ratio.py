"""The correlation ratio and its derivatives, on a smooth random volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamese_med.imaging import correlation_ratio, interpolation
from siamese_med.imaging.correlation_ratio import AFFINE_DEGREES_OF_FREEDOM, RIGID_DEGREES_OF_FREEDOM
from siamese_med.imaging.pose_optimisation import move_poses
from siamese_med.imaging.resampling import smooth_images
from siamese_med.imaging.volume import Volume, make_centred_affine

SHAPE = (28, 28, 28)
LEVER = 20.0


@pytest.fixture(scope="module")
def blob() -> Volume:
    rng = torch.Generator().manual_seed(0)
    voxels = smooth_images(torch.rand((1, 1, *SHAPE), generator=rng), 2.0)[0, 0]
    return Volume(((voxels - voxels.mean()) / voxels.std() + 3).numpy(), make_centred_affine(SHAPE, 2.0))


@pytest.fixture(scope="module")
def points(blob: Volume) -> correlation_ratio.SamplePoints:
    """So far inside that no small motion leaves the scan."""
    places = np.argwhere(np.ones([n - 12 for n in SHAPE], dtype=bool)) + 6
    return correlation_ratio.draw_sample_points(stack(blob), places, blob.affine, 4000, 0)


def stack(volume: Volume, mask: np.ndarray | None = None) -> interpolation.PackedVolumes:
    return interpolation.pack_volumes([volume], [mask], 2.0, 2.0, "cpu")


def at(
    volume: Volume,
    points: correlation_ratio.SamplePoints,
    step: list[float] | None = None,
    freedom: int = RIGID_DEGREES_OF_FREEDOM,
) -> correlation_ratio.RegistrationCost:
    pose = torch.eye(4, dtype=torch.float64)[None]
    if step:
        pose = move_poses(
            pose, torch.tensor([step], dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64), LEVER
        )
    return correlation_ratio.evaluate_registration_cost(stack(volume), torch.tensor([0]), pose, points, LEVER, freedom)


def test_a_volume_explains_itself_and_any_recolouring_of_itself(
    blob: Volume, points: correlation_ratio.SamplePoints
) -> None:
    assert float(at(blob, points).disagreement) < 1e-4
    inverted = Volume(np.exp(-blob.voxels), blob.affine)
    assert float(at(inverted, points).disagreement) < 0.02


def test_noise_is_explained_by_chance_alone(points: correlation_ratio.SamplePoints) -> None:
    noise = Volume(np.random.default_rng(1).random(SHAPE, dtype=np.float32), make_centred_affine(SHAPE, 2.0))
    assert float(at(noise, points).disagreement) > 0.9


@pytest.mark.parametrize("freedom", [RIGID_DEGREES_OF_FREEDOM, AFFINE_DEGREES_OF_FREEDOM])
def test_the_gradient_is_that_of_the_value(blob: Volume, points: correlation_ratio.SamplePoints, freedom: int) -> None:
    """Away from the optimum, against central differences; `gradient` is half of the derivative."""
    away = [1.5, -1.0, 2.0, 1.0, 0.5, -1.5]
    found = at(blob, points, away, freedom)
    pose = move_poses(
        torch.eye(4, dtype=torch.float64)[None],
        torch.tensor([away], dtype=torch.float64),
        torch.zeros(1, 3, dtype=torch.float64),
        LEVER,
    )
    for axis in range(freedom):
        nudge = torch.zeros(1, freedom, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            nudge[0, axis] = sign * 0.05
            moved = move_poses(pose, nudge, found.pivot, LEVER)
            there = correlation_ratio.evaluate_registration_cost(
                stack(blob), torch.tensor([0]), moved, points, LEVER, freedom
            )
            values.append(float(there.disagreement))
        assert 2 * float(found.gradient[0, axis]) == pytest.approx((values[0] - values[1]) / 0.1, abs=0.006)


def test_a_pose_that_leaves_the_scan_is_none(blob: Volume, points: correlation_ratio.SamplePoints) -> None:
    assert float(at(blob, points, [0, 0, 0, 500, 0, 0]).disagreement) == 1


def test_points_lie_around_the_bright_body_and_where_there_are_data() -> None:
    fixed = np.zeros((20, 20, 20), dtype=np.float32)
    fixed[8:12, 8:12, 8:12] = 1
    known = np.ones(fixed.shape, dtype=bool)
    known[:, :, 11:] = False
    near = correlation_ratio.find_body_mask(fixed, known)
    assert near[8:12, 8:12, 8:11].all()
    assert near[5, 9, 9]
    assert not near[:, :, 11:].any()
    assert not near[0].any()
