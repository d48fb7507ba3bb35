"""Correlation ratio of a moving image given a fixed one (Roche et al., MICCAI 1998), at sampled points.

The correlation ratio is the share of the moving scan's variance that the fixed scan explains. The two scans need not
have the same contrast. The points of the fixed scan are divided into POINT_BINS bins, alike in intensity and in
gradient magnitude, and a straight line is fitted within each bin. The gradient matters because an edge is an edge in
every contrast, and because air, bone and fluid, which are all dark in FLAIR, have different edges. All bins hold the
same number of points, stored next to each other, so the sums per bin are sums over reshaped rows.

The best pose is found by variable projection (Golub and Pereyra, 1973): the line fits are eliminated, and a
least-squares problem in the pose remains. Its normal matrix is computed together with the value.
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
"""Bins of the fixed scan's intensity, and within each of these, bins of its gradient magnitude."""
POINT_BINS = INTENSITY_BINS * STEEPNESS_BINS
BODY_MARGIN_VOXELS = 3
"""Points are drawn inside the bright body and this many voxels around it."""
MIN_POINTS_INSIDE_FRACTION = 0.2
"""A pose is rejected when a smaller share of the points than this lies inside the moving scan."""
RIGID_DEGREES_OF_FREEDOM, AFFINE_DEGREES_OF_FREEDOM = 6, 12
"""Three rotations and three translations; for affine, also three scalings and three shears."""


class SamplePoints(NamedTuple):
    """Points of the fixed scan, sorted by bin, each bin of the same size.

    Attributes
    ----------
    places
        Coordinates (3, n) in RAS+ mm of the fixed scan.
    values
        Intensity (n,) of the fixed scan at these points.
    """

    places: torch.Tensor
    values: torch.Tensor


class RegistrationCost(NamedTuple):
    """The registration cost of b poses with f degrees of freedom each.

    Attributes
    ----------
    disagreement
        1 - correlation ratio (b,), between 0 and 1.
    gradient
        Half the gradient of the disagreement (b, f), per mm.
    curvature
        Gauss-Newton approximation of half the Hessian (b, f, f), per square mm.
    pivot
        Point (b, 3) in mm of the moving scan about which the motions turn.
    """

    disagreement: torch.Tensor
    gradient: torch.Tensor
    curvature: torch.Tensor
    pivot: torch.Tensor


def find_body_mask(fixed: NDArray[np.float32], known: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Find the body in the fixed scan: voxels above the mean, with holes filled, dilated by BODY_MARGIN_VOXELS.

    The margin includes the body's edges. Regions that the fixed scan lacks, such as the face of a skull-stripped
    template, are left out.

    Parameters
    ----------
    fixed
        Intensities (i, j, k).
    known
        Where `fixed` holds data (i, j, k); everywhere if None.

    Returns
    -------
    Mask (i, j, k) with at least one voxel: everything is marked when no body was found.
    """
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
    """Draw random points of the fixed scan, at subvoxel positions, and sort them into bins.

    Parameters
    ----------
    places
        Voxel indices (m, 3) to draw from, on the grid of `affine`; a point lies within half a voxel of one of them.
    affine
        4x4, from voxel to RAS+ mm of the fixed scan.
    count
        Number of points; rounded down to a multiple of POINT_BINS, at least one per bin.
    """
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
    """Compute 1 - correlation ratio of volume `owners[b]` under each of `poses`, with gradient and curvature.

    `poses` (b, 4, 4) map fixed mm to moving mm (RAS+). Rotations count in mm of motion at the distance `lever` (mm).
    `freedom` is 6 (rigid) or 12 (affine). A pose with too few points inside the moving scan gets a disagreement of 1.
    """
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
    """Sum over the points of each bin: (..., n) to (..., POINT_BINS)."""
    sums: torch.Tensor = rows.view(*rows.shape[:-1], POINT_BINS, -1).sum(-1)
    return sums


def _pose_derivatives(arms: torch.Tensor, slope: torch.Tensor, freedom: int) -> list[torch.Tensor]:
    """Derivatives of the sampled values by each degree of freedom, (b, n) each."""
    x, y, z = arms.unbind(1)
    dx, dy, dz = slope.unbind(1)
    rigid = [y * dz - z * dy, z * dx - x * dz, x * dy - y * dx, dx, dy, dz]
    if freedom == RIGID_DEGREES_OF_FREEDOM:
        return rigid
    return [*rigid, x * dx, y * dy, z * dz, y * dz + z * dy, z * dx + x * dz, x * dy + y * dx]
