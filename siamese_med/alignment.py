"""Rigid alignment, batched in torch: the same code on CPU and GPU.

The cost is the correlation ratio, see correlation; the search is Adam on six numbers a scan, from coarse to fine.
A transform is a 4x4 matrix from fixed mm to moving mm (RAS+), as resampling needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med import correlation
from siamese_med.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

WORK_MARGIN = 1.25
"""The moving scan is brought to the fixed spacing on a grid this much larger: batches are of one shape."""
LEVER = 0.4
"""A rotation of one radian moves the edge of the head by this share of the grid; so angles and shifts are alike."""


class Level(NamedTuple):
    """One step from coarse to fine; smoothing and the first step of the search in voxels of the fixed grid."""

    smoothing: float
    points: int
    iterations: int
    step: float


TEMPLATE_LEVELS = (Level(2.0, 4_000, 40, 1.2), Level(0.7, 12_000, 30, 0.3))
PAIR_LEVELS = (Level(1.0, 8_000, 16, 0.3), Level(0.4, 16_000, 20, 0.08))


@dataclass(frozen=True)
class Alignment:
    """Where a scan lies: fixed mm to moving mm, and the correlation ratio reached (0 to 1)."""

    matrix: NDArray[np.float64]
    correlation_ratio: float


def align(
    moving: Sequence[Volume],
    fixed: Volume,
    levels: Sequence[Level] = TEMPLATE_LEVELS,
    initial: Sequence[NDArray[np.float64]] | None = None,
    device: str = "cpu",
    inside: NDArray[np.bool_] | None = None,
) -> list[Alignment]:
    """Align every moving scan to the fixed volume; without `initial` the centres of mass are laid on each other.

    `inside` (i, j, k) tells where the fixed volume holds data; the rest of its grid is not looked at.
    """
    import torch

    starts = initial or [_by_centre_of_mass(scan, fixed) for scan in moving]
    grid, shape = _work_grid(fixed)
    work = torch.cat(
        [resample(scan, grid_on(start, grid), shape, device) for scan, start in zip(moving, starts, strict=True)]
    )
    reference = torch.as_tensor(np.ascontiguousarray(fixed.voxels), dtype=torch.float32, device=device)
    known = torch.ones_like(reference, dtype=torch.bool) if inside is None else torch.as_tensor(inside, device=device)
    offsets, reached = _search(work, grid, (reference, known), fixed.affine, levels, initial is None)
    return [Alignment(start @ offset, ratio) for start, offset, ratio in zip(starts, offsets, reached, strict=True)]


def _work_grid(fixed: Volume) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """The fixed grid, larger by the margin: on its lattice, so that equal scans are interpolated alike."""
    pad = [round((WORK_MARGIN - 1) / 2 * n) for n in fixed.voxels.shape]
    shift = np.eye(4)
    shift[:3, 3] = -np.asarray(pad)
    return fixed.affine @ shift, tuple(n + 2 * p for n, p in zip(fixed.voxels.shape, pad, strict=True))


def grid_on(matrix: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel of `grid` to mm of the scan that `matrix` leads to."""
    return np.asarray(matrix @ grid)


def resample(
    scan: Volume, voxel_to_scan: NDArray[np.float64], shape: Sequence[int], device: str = "cpu"
) -> torch.Tensor:
    """The scan on another grid, linearly, averaged first where finer: (1, 2, i, j, k), voxels and validity 0 or 1."""
    import torch
    import torch.nn.functional as functional

    voxels = torch.as_tensor(np.ascontiguousarray(scan.voxels), dtype=torch.float32, device=device)[None, None]
    target = np.linalg.norm(voxel_to_scan[:3, :3], axis=0).min()
    pool = [max(1, int(target / edge + 1e-3)) for edge in scan.spacing_mm]
    pool = [min(p, n) for p, n in zip(pool, scan.voxels.shape, strict=True)]
    coarse = functional.avg_pool3d(voxels, pool) if max(pool) > 1 else voxels
    to_coarse = np.diag([*(1 / np.asarray(pool, dtype=float)), 1.0])
    to_coarse[:3, 3] = (1 / np.asarray(pool) - 1) / 2
    matrix = to_coarse @ np.linalg.inv(scan.affine) @ voxel_to_scan
    points = _normalised(matrix, shape, coarse.shape[2:], device)
    values = functional.grid_sample(coarse, points.flip(-1)[None], align_corners=False, padding_mode="border")
    valid = (points.abs() <= 1).all(-1).to(values.dtype)
    return torch.cat([values * valid, valid[None, None]], 1)


def _normalised(
    matrix: NDArray[np.float64], shape: Sequence[int], source_shape: Sequence[int], device: str
) -> torch.Tensor:
    """Where every voxel of a grid falls in the source, -1 to 1 edge to edge: (i, j, k, 3)."""
    import torch

    size = np.asarray(source_shape, dtype=float)
    linear = 2 * matrix[:3, :3] / size[:, None]
    offset = (2 * matrix[:3, 3] + 1) / size - 1
    steps = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    columns = torch.as_tensor(linear.T, dtype=torch.float32, device=device)
    start = torch.as_tensor(offset, dtype=torch.float32, device=device)
    i, j, k = (step[:, None] * column for step, column in zip(steps, columns, strict=True))
    points: torch.Tensor = i[:, None, None] + j[None, :, None] + k[None, None, :] + start
    return points


def _by_centre_of_mass(scan: Volume, fixed: Volume) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, 3] = centre_of_mass(scan) - centre_of_mass(fixed)
    return matrix


def centre_of_mass(scan: Volume) -> NDArray[np.float64]:
    """Centre in mm of what is brighter than the scan's mean; the geometric centre of an empty scan."""
    step = tuple(slice(None, None, max(1, n // 64)) for n in scan.voxels.shape)
    voxels = np.asarray(scan.voxels[step], dtype=np.float32)
    bright = np.argwhere(voxels > voxels.mean())
    strides = np.array([s.step for s in step])
    centre = bright.mean(0) * strides if len(bright) else (np.asarray(scan.voxels.shape) - 1) / 2
    return np.asarray(scan.affine[:3, :3] @ centre + scan.affine[:3, 3])


def _search(
    work: torch.Tensor,
    grid: NDArray[np.float64],
    fixed: tuple[torch.Tensor, torch.Tensor],
    fixed_affine: NDArray[np.float64],
    levels: Sequence[Level],
    several_starts: bool,
) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Offsets (4x4, mm) that bring each work image (b, 2, i, j, k) onto the fixed one, and the ratio reached."""
    import torch

    reference, known = fixed
    extent = grid[0, 0] * max(reference.shape)
    poses = torch.zeros(1, len(work), 6, device=work.device)  # three rotations, three shifts, all in mm
    if several_starts:
        poses = torch.stack([poses[0], _top_on_top(work, grid, reference, fixed_affine)])
    for number, level in enumerate(levels):
        images, lattice = _smoothed(work, grid, level.smoothing)
        smoothed = smooth(reference[None, None], level.smoothing)[0, 0]
        points, weights = correlation.fixed_points(smoothed, known, fixed_affine, level.points, number)
        tried = [
            _descend(images, lattice, points, weights, start, extent, level.step * grid[0, 0], level.iterations)
            for start in poses
        ]
        ratio, winner = torch.stack([reached for _, reached in tried]).max(0)
        pose = torch.stack([found for found, _ in tried])[winner, torch.arange(len(work))]
        poses = pose[None]
    matrices = _matrices(pose, extent).cpu().numpy().astype(np.float64)
    return list(matrices), [float(value) for value in ratio]


def _smoothed(work: torch.Tensor, grid: NDArray[np.float64], sigma: float) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """The work images (b, 2, i, j, k) for one level and their affine: halved first where the smoothing allows it."""
    import torch
    import torch.nn.functional as functional

    if sigma >= 1.5:
        work, sigma = functional.avg_pool3d(work, 2), sigma / 2
        half = np.diag([2.0, 2.0, 2.0, 1.0])
        half[:3, 3] = 0.5
        grid = grid @ half
    return torch.cat([smooth(work[:, :1], sigma), work[:, 1:]], 1), grid


def _top_on_top(
    work: torch.Tensor, grid: NDArray[np.float64], fixed: torch.Tensor, fixed_affine: NDArray[np.float64]
) -> torch.Tensor:
    """A second start: upper ends laid on each other, for scans whose long neck pulls the centre of mass down."""
    import torch

    pose = torch.zeros(len(work), 6, device=work.device)
    goal = _top(fixed, fixed_affine)
    for number, image in enumerate(work[:, 0]):
        pose[number, 5] = _top(image, grid) - goal
    return pose


def _top(image: torch.Tensor, affine: NDArray[np.float64]) -> float:
    """Height in mm of the uppermost slice with more than a tenth as much bright matter as the fullest one."""
    bright = (image > image.mean()).sum((0, 1))
    highest = int((bright > 0.1 * bright.max()).nonzero().max()) if bright.max() > 0 else len(bright) // 2
    return float(affine[2, 3] + affine[2, 2] * highest)


def _descend(
    images: torch.Tensor,
    grid: NDArray[np.float64],
    points: torch.Tensor,
    weights: torch.Tensor,
    start: torch.Tensor,
    extent: float,
    step: float,
    iterations: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adam on the pose; the best pose met is kept, the start included, so that a perfect start stays untouched."""
    import torch

    pose = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([pose], lr=step, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    best, best_ratio = start.clone(), torch.full((len(images),), -1.0, device=images.device)
    for _ in range(iterations + 1):
        ratio = correlation.ratio(images, grid, _transformed(points, pose, extent), weights)
        better = ratio.detach() > best_ratio + 1e-6
        best[better], best_ratio[better] = pose.detach()[better], ratio.detach()[better]
        optimizer.zero_grad()
        (-ratio.sum()).backward()
        optimizer.step()
        schedule.step()
    return best, best_ratio


def _transformed(points: torch.Tensor, pose: torch.Tensor, extent: float) -> torch.Tensor:
    matrices = _matrices(pose, extent)
    return points @ matrices[:, :3, :3].transpose(1, 2) + matrices[:, None, :3, 3]


def _matrices(pose: torch.Tensor, extent: float) -> torch.Tensor:
    """Poses (b, 6) to rigid matrices (b, 4, 4) by the exponential map of the rotation."""
    import torch

    x, y, z = (pose[:, :3] / (LEVER * extent)).unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    top = torch.cat([torch.linalg.matrix_exp(skew), pose[:, 3:, None]], 2)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], device=pose.device).expand(len(pose), 1, 4)
    return torch.cat([top, bottom], 1)


def smooth(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing (b, c, i, j, k) with sigma in voxels, edges repeated."""
    import torch
    import torch.nn.functional as functional

    if sigma <= 0:
        return images
    radius = max(1, int(3 * sigma + 0.5))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=images.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(images.dtype)
    flat = images.reshape(-1, 1, *images.shape[2:])
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = -1
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        flat = functional.conv3d(functional.pad(flat, padding, mode="replicate"), kernel.view(shape))
    return flat.reshape(images.shape)
