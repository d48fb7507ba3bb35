"""Volumes onto other grids and to other sharpness, in torch; arrays are (i, j, k), lengths mm unless in voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

CENTRE_SAMPLES_PER_AXIS = 32
"""The centre of mass is taken on a grid about this fine."""


def resample_volume(
    scan: Volume, voxel_to_scan: NDArray[np.float64], shape: Sequence[int], device: str = "cpu", nearest: bool = False
) -> torch.Tensor:
    """The scan on another grid, linearly, averaged first where finer: (1, 2, i, j, k), voxels and validity 0 or 1.

    `nearest` takes the value of the nearest voxel instead, so that as large a volume as before lies over any threshold.
    """
    import torch
    import torch.nn.functional as functional

    target = np.linalg.norm(voxel_to_scan[:3, :3], axis=0).min()
    coarse, affine = pool_volume(scan, 0.0 if nearest else float(target), device)
    points = _normalised_coordinates(np.linalg.inv(affine) @ voxel_to_scan, shape, coarse.shape[2:], device)
    mode = "nearest" if nearest else "bilinear"
    values = functional.grid_sample(coarse, points.flip(-1)[None], mode, align_corners=False, padding_mode="border")
    valid = (points.abs() <= 1).all(-1).to(values.dtype)
    return torch.cat([values * valid, valid[None, None]], 1)


def pool_volume(
    scan: Volume, edge_mm: float, device: str = "cpu", most: bool = False
) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Means (or maxima) of as many whole voxels as fit into `edge_mm`: (1, 1, i, j, k), and their affine."""
    import torch
    import torch.nn.functional as functional

    voxels = torch.as_tensor(np.ascontiguousarray(scan.voxels), dtype=torch.float32, device=device)[None, None]
    pool = [
        min(max(1, int(edge_mm / edge + 1e-3)), n) for edge, n in zip(scan.spacing_mm, scan.voxels.shape, strict=True)
    ]
    if max(pool) > 1:
        voxels = functional.max_pool3d(voxels, pool) if most else functional.avg_pool3d(voxels, pool)
    coarser = np.diag([*map(float, pool), 1.0])
    coarser[:3, 3] = (np.asarray(pool) - 1) / 2
    return voxels, np.asarray(scan.affine @ coarser)


def _normalised_coordinates(
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


def centre_of_mass(scan: Volume, inside: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Centre in mm of what is brighter than the mean (of `inside`, where given); the grid's where nothing is."""
    step = tuple(slice(None, None, max(1, n // CENTRE_SAMPLES_PER_AXIS)) for n in scan.voxels.shape)
    voxels = np.asarray(scan.voxels[step], dtype=np.float32)
    bright = voxels > voxels.mean() if inside is None else inside[step]
    centre = (np.asarray(scan.voxels.shape) - 1) / 2
    if bright.any():
        shares = [bright.sum(tuple({0, 1, 2} - {axis})) / bright.sum() for axis in range(3)]
        centre = np.array([share @ np.arange(len(share)) * s.step for share, s in zip(shares, step, strict=True)])
    return np.asarray(scan.affine[:3, :3] @ centre + scan.affine[:3, 3])


def smooth_images(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing (b, c, i, j, k) with sigma in voxels, edges repeated."""
    return smooth_along_axes(images, (sigma, sigma, sigma))


def smooth_along_axes(images: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Gaussian smoothing (b, c, i, j, k) with one sigma an axis, in voxels, edges repeated; none below a quarter."""
    for axis, sigma in enumerate(sigmas):
        if sigma >= 0.25:
            images = _smooth_axis(images, float(sigma), 2 + axis)
    return images


def _smooth_axis(images: torch.Tensor, sigma: float, axis: int) -> torch.Tensor:
    import torch
    import torch.nn.functional as functional

    radius = max(1, int(3 * sigma + 0.5))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    padding = [0] * 6
    padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = radius
    flat = images.reshape(-1, 1, *images.shape[2:])
    padded = functional.pad(flat, padding, mode="replicate")
    total = torch.zeros_like(flat)
    for offset, weight in enumerate((kernel / kernel.sum()).tolist()):  # five times as fast as a convolution
        total.add_(padded.narrow(axis, offset, flat.shape[axis]), alpha=weight)
    return total.reshape(images.shape)
