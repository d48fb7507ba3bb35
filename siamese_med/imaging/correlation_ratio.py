"""How well moving images agree with a fixed one: the correlation ratio (Roche et al., MICCAI 1998) at drawn points.

It is the share of the moving scan's variance that the fixed scan explains; it needs no common contrast. The fixed scan
speaks through BINS kinds of points, alike in intensity and in steepness, and by a straight line within each: an edge is
an edge in every contrast, and air, bone and fluid, all dark in FLAIR, lie at edges of their own. All kinds are equally
many and lie next to each other, so that what a kind explains comes from sums over reshaped rows.

The best pose is found by variable projection (Golub and Pereyra, 1973): the kinds' lines are eliminated, what is left
is a least-squares problem in the pose, and its normal matrix comes with the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med.imaging import interpolation

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from siamese_med.imaging.interpolation import PackedVolumes

INTENSITY_BINS, STEEPNESS_BINS = 8, 5
POINT_BINS = INTENSITY_BINS * STEEPNESS_BINS
BODY_MARGIN_VOXELS = 3
"""How far around the bright body points are drawn."""
MIN_POINTS_INSIDE_FRACTION = 0.2
"""A pose at which less than this share of the points lies in the moving scan is none."""
RIGID_DEGREES_OF_FREEDOM, AFFINE_DEGREES_OF_FREEDOM = 6, 12
"""Degrees of freedom: three rotations, three shifts, then three stretches and three shears."""


class SamplePoints(NamedTuple):
    """Where the fixed scan is asked, (3, n) in mm, kind by kind, and what it says there (n,)."""

    places: torch.Tensor
    values: torch.Tensor


class RegistrationCost(NamedTuple):
    """At one pose each: 1 - correlation ratio (b,), half its gradient (b, f), curvature (b, f, f), pivot (b, 3) mm."""

    disagreement: torch.Tensor
    gradient: torch.Tensor
    curvature: torch.Tensor
    pivot: torch.Tensor


def find_body_mask(fixed: NDArray[np.float32], known: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """What is bright, filled and widened by a few voxels: edges count, and a face that the template lacks does not."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    known = np.ones(fixed.shape, dtype=bool) if known is None else known
    near: NDArray[np.bool_] = binary_dilation(
        binary_fill_holes((fixed > fixed.mean()) & known), iterations=BODY_MARGIN_VOXELS
    )
    near &= known
    return near if near.any() else np.ones(fixed.shape, dtype=bool)


def draw_sample_points(
    fixed: PackedVolumes, places: NDArray[np.int64], affine: NDArray[np.float64], count: int, seed: int
) -> SamplePoints:
    """About `count` points, off the grid around `places` (m, 3) in voxels, kind by kind."""
    import torch

    generator = np.random.default_rng(seed)
    count = max(1, count // POINT_BINS) * POINT_BINS
    voxels = places[generator.integers(0, len(places), count)] + generator.uniform(-0.5, 0.5, (count, 3))
    points = torch.as_tensor(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=torch.float32).T.to(fixed.voxels.device)
    here = torch.eye(4, dtype=torch.float64, device=points.device)[None]
    value, slope, _ = interpolation.sample_volumes(
        fixed, torch.zeros(1, dtype=torch.long, device=points.device), here, points
    )
    by_intensity = torch.argsort(value[0], stable=True).view(INTENSITY_BINS, -1)
    steepness = slope[0].norm(dim=0)[by_intensity]
    kinds = torch.gather(by_intensity, 1, torch.argsort(steepness, dim=1, stable=True)).flatten()
    return SamplePoints(points[:, kinds].contiguous(), value[0, kinds])


def evaluate_registration_cost(
    moving: PackedVolumes, owners: torch.Tensor, poses: torch.Tensor, points: SamplePoints, lever: float, freedom: int
) -> RegistrationCost:
    """Agreement of volume `owners[b]` under `poses` (b, 4, 4), fixed mm to moving mm; rotations are mm at `lever`."""
    import torch

    value, slope, valid = interpolation.sample_volumes(moving, owners, poses, points.places)
    matrix = poses[:, :3].to(value.dtype)
    arms = matrix[:, :, :3] @ points.places + matrix[:, :, 3:]
    pivot = arms.mean(2, keepdim=True)
    rows = torch.stack([value, *_pose_derivatives((arms - pivot) / lever, slope, freedom)], 1)
    seen = valid.to(value.dtype)
    weighted = rows * seen[:, None]
    products = weighted @ rows.transpose(1, 2)
    sums, tilts = _sum_over_bins(weighted), _sum_over_bins(weighted * points.values)
    counts, offset, spread = (_sum_over_bins(seen * points.values**power) for power in range(3))
    counts = counts + 1e-3
    tilts = tilts - (offset / counts)[:, None] * sums
    spread = spread - offset**2 / counts + 1e-3
    within = (
        products - (sums / counts[:, None]) @ sums.transpose(1, 2) - (tilts / spread[:, None]) @ tilts.transpose(1, 2)
    )
    total = sums.sum(-1)
    overall = products - total[:, :, None] * total[:, None] / counts.sum(-1)[:, None, None]
    variance = overall[:, :1, :1] + 1e-6
    unexplained = within[:, :1, :1] / variance
    gradient = ((within - unexplained * overall)[:, 0, 1:]) / variance[:, 0]
    curvature = (within - unexplained / 2 * overall)[:, 1:, 1:] / variance
    enough = (seen.mean(1) >= MIN_POINTS_INSIDE_FRACTION) & (overall[:, 0, 0] > 1e-4 * seen.sum(1))
    disagreement = torch.where(enough, unexplained[:, 0, 0], torch.ones_like(variance[:, 0, 0]))
    return RegistrationCost(disagreement, gradient, curvature, pivot[:, :, 0].to(poses.dtype))


def _sum_over_bins(rows: torch.Tensor) -> torch.Tensor:
    """Sums over each kind of points: (..., n) to (..., BINS)."""
    sums: torch.Tensor = rows.view(*rows.shape[:-1], POINT_BINS, -1).sum(-1)
    return sums


def _pose_derivatives(arms: torch.Tensor, slope: torch.Tensor, freedom: int) -> list[torch.Tensor]:
    """How the value changes with each degree of freedom, (b, n) each."""
    x, y, z = arms.unbind(1)
    dx, dy, dz = slope.unbind(1)
    rigid = [y * dz - z * dy, z * dx - x * dz, x * dy - y * dx, dx, dy, dz]
    if freedom == RIGID_DEGREES_OF_FREEDOM:
        return rigid
    return [*rigid, x * dx, y * dy, z * dz, y * dz + z * dy, z * dx + x * dz, x * dy + y * dx]
