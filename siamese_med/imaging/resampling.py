"""Resampling, downsampling and smoothing of volumes in torch; arrays are (i, j, k), lengths in mm unless stated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

CENTRE_SAMPLES_PER_AXIS = 32
"""The centre of mass is computed on every n-th voxel, so that about this many remain along each axis."""


def resample_volume(
    scan: Volume, voxel_to_scan: NDArray[np.float64], shape: Sequence[int], device: str = "cpu", nearest: bool = False
) -> torch.Tensor:
    """Resample a scan onto another grid by linear interpolation; voxels finer than the target are averaged first.

    Parameters
    ----------
    voxel_to_scan
        4x4, from voxel of the new grid to RAS+ mm of the scan.
    shape
        Shape (i, j, k) of the new grid.
    nearest
        Take the nearest voxel instead, so that the volume above a threshold is about preserved.

    Returns
    -------
    float32 (1, 2, i, j, k): the intensities, and 1 inside the scan or 0 outside; intensities outside are 0.
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
    """Downsample by averaging as many whole voxels along each axis as fit into `edge_mm`.

    With `most` the maximum is taken instead, so that a mask keeps thin parts.

    Returns
    -------
    float32 (1, 1, i, j, k), and the affine (4x4) of the coarser grid, from voxel to RAS+ mm.
    """
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
    """Position of every voxel of a grid in the source, (i, j, k, 3), from -1 to 1 between the source's edges."""
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
    """Compute the centre of the voxels that are brighter than the mean, or of the mask `inside` where one is given.

    Returns
    -------
    RAS+ mm (3,); the centre of the grid when no voxel counts.

    Examples
    --------
    >>> voxels = np.zeros((3, 3, 3))
    >>> voxels[2, 1, 1] = 1.0
    >>> centre_of_mass(Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0])))
    array([4., 2., 2.])
    """
    step = tuple(slice(None, None, max(1, n // CENTRE_SAMPLES_PER_AXIS)) for n in scan.voxels.shape)
    voxels = np.asarray(scan.voxels[step], dtype=np.float32)
    bright = voxels > voxels.mean() if inside is None else inside[step]
    centre = (np.asarray(scan.voxels.shape) - 1) / 2
    if bright.any():
        shares = [bright.sum(tuple({0, 1, 2} - {axis})) / bright.sum() for axis in range(3)]
        centre = np.array([share @ np.arange(len(share)) * s.step for share, s in zip(shares, step, strict=True)])
    return np.asarray(scan.affine[:3, :3] @ centre + scan.affine[:3, 3])


def smooth_images(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Smooth images (b, c, i, j, k) with a Gaussian of `sigma` voxels; the border values are repeated outwards."""
    return smooth_along_axes(images, (sigma, sigma, sigma))


def smooth_along_axes(images: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Smooth images (b, c, i, j, k) with a Gaussian whose sigma differs between the axes i, j and k.

    `sigmas` are in voxels; a sigma below a quarter of a voxel is skipped. The border values are repeated outwards.
    """
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
