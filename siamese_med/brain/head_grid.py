"""A scan on the grid that the segmentation network sees: 2 mm, axes nearest to right, front, head, normalised.

The grid keeps the axes of the scan (permuted and flipped, never rotated), so that slices stay planes of the grid and
resampling is a weighted sum along one axis at a time. Synthetic scans for training go through the same functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.imaging.intensity import choose_voxels
from siamese_med.imaging.volume import Volume, reorient_to_ras

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

GRID_MM = 2.0
"""Voxel edge of the network's grid."""
CROP_SHAPE = (96, 112, 96)
"""Shape (i, j, k) of the part of the grid that the network sees at once: 192 x 224 x 192 mm."""
HEAD_TOP_TO_BRAIN_CENTRE_MM = 80.0
"""About how far below the top of the head the brain's centre lies."""
LOW_QUANTILE, HIGH_QUANTILE = 0.005, 0.99
"""Intensities are scaled so that these quantiles become 0 and 1; the upper one is taken of the voxels that are not
air."""
AIR_FRACTION = 0.1
"""Voxels below this share of the range count as air."""
MAX_INTENSITY = 1.25
"""Scaled intensities are clipped here."""
SAMPLED_VOXELS = 200_000
"""Quantiles are taken from about this many voxels."""


def resample_to_grid(scan: Volume) -> Volume:
    """Resample a whole scan to voxels of GRID_MM along its own axes, ordered right, front, head.

    Along each axis, a voxel of the grid is the mean over its width where the scan is finer, and linearly interpolated
    where the scan is coarser.

    Returns
    -------
    float32 voxels; an affine from voxel to RAS+ mm of the scan, isotropic up to the shear of the scan's own affine.

    Examples
    --------
    >>> fine = Volume(np.ones((40, 40, 10), dtype=np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))
    >>> resample_to_grid(fine).voxels.shape
    (20, 20, 20)
    """
    import torch

    upright = reorient_to_ras(scan)
    voxels = torch.as_tensor(np.ascontiguousarray(upright.voxels), dtype=torch.float32)
    affine = upright.affine.copy()
    for axis, edge in enumerate(upright.spacing_mm):
        weights = make_axis_weights(upright.voxels.shape[axis], float(edge))
        voxels = torch.tensordot(weights, voxels.movedim(axis, 0), 1).movedim(0, axis)
        step = upright.affine[:3, axis] / edge
        first = (edge * (upright.voxels.shape[axis] - 1) - GRID_MM * (len(weights) - 1)) / 2
        affine[:3, axis] = step * GRID_MM
        affine[:3, 3] += step * first
    return Volume(voxels.contiguous().numpy(), affine)


def make_axis_weights(count: int, edge_mm: float) -> torch.Tensor:
    """Make the weights that resample one axis of `count` voxels of `edge_mm` to voxels of GRID_MM with the same centre.

    Returns
    -------
    float32 (n, count); every row sums to one.

    Examples
    --------
    >>> make_axis_weights(4, 1.0)
    tensor([[0.5000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    import torch

    n = max(1, round(count * edge_mm / GRID_MM))
    centres = (np.arange(n) - (n - 1) / 2) * GRID_MM
    sources = (np.arange(count) - (count - 1) / 2) * edge_mm
    distance = np.abs(centres[:, None] - sources[None])
    if edge_mm < GRID_MM:  # overlap of the two voxels
        weights = np.clip((GRID_MM + edge_mm) / 2 - distance, 0, edge_mm)
    else:
        clamped = np.clip(centres, sources[0], sources[-1])
        weights = np.clip(1 - np.abs(clamped[:, None] - sources[None]) / edge_mm, 0, None)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return torch.as_tensor(weights, dtype=torch.float32)


def find_air_limit(some: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Find up to which brightness voxels count as air: the darkest, that limit and the brightest, by robust quantiles.

    Examples
    --------
    >>> [round(float(one)) for one in find_air_limit(np.array([0.0] * 500 + [100.0] * 500))]
    [0, 10, 100]
    """
    low, top = np.quantile(some, [LOW_QUANTILE, 0.999])
    return low, low + AIR_FRACTION * (top - low), top


def scale_intensity(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale intensities to 0 (air) .. 1 (bright tissue) by robust quantiles, clipped at MAX_INTENSITY.

    Examples
    --------
    >>> scale_intensity(np.array([0.0, 0.0, 50.0, 100.0, 100.0], dtype=np.float32))
    array([0. , 0. , 0.5, 1. , 1. ], dtype=float32)
    """
    some = voxels.ravel()[choose_voxels(voxels.size, SAMPLED_VOXELS)]
    low, limit, top = find_air_limit(some)
    tissue = some[some > limit]
    high = np.quantile(tissue, HIGH_QUANTILE) if len(tissue) else top
    return np.asarray(np.clip((voxels - low) / max(high - low, 1e-6), 0, MAX_INTENSITY), dtype=np.float32)


def guess_brain_centre(scaled: NDArray[np.float32]) -> NDArray[np.int64]:
    """Guess where the brain's centre lies, as a voxel (i, j, k) of a scaled scan on the 2 mm grid.

    It is sought below the highest slice that shows a good part of a head. Necks and shoulders below do not count.
    """
    body = scaled > 2 * AIR_FRACTION
    areas = body.sum((0, 1))
    enough = np.flatnonzero(areas > 0.15 * areas.max(initial=1))
    if not len(enough):
        return np.asarray(scaled.shape) // 2
    top = int(enough.max())
    reach = int(2 * HEAD_TOP_TO_BRAIN_CENTRE_MM / GRID_MM)
    bottom = max(0, top - reach)
    head = body[:, :, bottom : top + 1]
    centre = [float(_middle(head.sum(tuple({0, 1, 2} - {axis})))) for axis in (0, 1)]
    return np.array([*centre, max(top - HEAD_TOP_TO_BRAIN_CENTRE_MM / GRID_MM, (bottom + top) / 2)]).round().astype(int)


def _middle(profile: NDArray[np.int64]) -> float:
    """The middle between the 2nd and the 98th percentile of a profile."""
    shares = np.cumsum(profile) / max(1, profile.sum())
    return (float(np.searchsorted(shares, 0.02)) + float(np.searchsorted(shares, 0.98))) / 2


def crop_around(
    voxels: NDArray[Any], centre: NDArray[np.int64], shape: tuple[int, int, int] = CROP_SHAPE
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut a box of `shape` around a voxel; what lies outside the scan is 0.

    Returns
    -------
    The box, and the voxel (3,) of the scan that its first voxel is; it may be negative.
    """
    size = np.asarray(voxels.shape)
    first = np.asarray(centre) - np.asarray(shape) // 2
    box = np.zeros(shape, dtype=voxels.dtype)
    low, high = np.clip(first, 0, size), np.clip(first + shape, 0, size)
    inside = tuple(slice(a, b) for a, b in zip(low - first, high - first, strict=True))
    box[inside] = voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return box, first
