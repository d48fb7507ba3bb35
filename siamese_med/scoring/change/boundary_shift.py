"""Local volume change from the shift of tissue boundaries, without training.

The boundary shift integral (Freeborough and Fox, IEEE Transactions on Medical Imaging, 1997) in Gaussian windows. In
each window, ridge regression explains the difference of the two scans by nine terms. The first is a shift of all edges
towards the brighter or the darker side. The others are not change: three for residual misalignment, two for brightness
and contrast, and three for sharpness along each axis, which depends on direction and thickness of the slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from siamese_med.imaging.resampling import smooth_along_axes, smooth_images
from siamese_med.scoring.change import change_map
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.pair_registration import RegisteredPair

WINDOW_SD_MM = 8.0
"""Standard deviation of the window. In a smaller one the nine terms explain noise, in a larger one contrast varies."""
ENCLOSING_WINDOW_SD_MM = 20.0
"""Standard deviation of the window that decides which tissue is the enclosed one. In a smaller one, large ventricles
would outweigh the brain."""
GRID_SPACING_MM = 3.0
"""Voxel edge at which the terms are computed."""
COMMON_BLUR_SD_MM = 2.0
"""Standard deviation of the smoothing of both scans, which reduces the effect of their own sharpness."""
WINDOW_STRIDE_VOXELS = 2
"""Distance of neighbouring windows, in voxels of GRID_SPACING_MM."""
MIN_WINDOW_INSIDE_FRACTION = 0.3
"""A window is left out if a smaller share of its weight lies in the body."""
RIDGE_PENALTY = 1e-3
"""Ridge penalty, relative to the size of each term. Terms that are collinear in a window share what they explain."""
INDEPENDENT_PLACES_PER_WINDOW = (WINDOW_SD_MM / COMMON_BLUR_SD_MM) ** 3
"""Number of places in a window with independent noise, from which the standard error follows."""
WINDOW_VOLUME_ML = (2 * math.pi) ** 1.5 * WINDOW_SD_MM**3 / 1000
"""Integral of the Gaussian window in ml."""


@dataclass(frozen=True)
class BoundaryShift:
    """Local volume change from the earlier to the later scan. Maps are (i, j, k) on the pair grid, 0 where unknown.

    Attributes
    ----------
    relative
        Gain of the enclosed tissue, the rarer one of a window, as a share of the window's volume.
    deviation
        The gain in units of its standard error. That of a rescan is larger, see `noise_floor`.
    ml
        Gain in ml in the window with the strongest deviation.
    figure
        The strongest absolute deviation.
    """

    relative: Tensor
    deviation: Tensor
    ml: float
    figure: float


def measure_boundary_shift(pair: RegisteredPair, spacing_mm: float) -> BoundaryShift:
    """Measure where the tissue that is enclosed by another one, such as a ventricle, has grown (+) or shrunk (-).

    The result changes its sign for swapped scans, and is 0 for a scan with itself.

    Parameters
    ----------
    pair
        The registered scans, with matched intensities.
    spacing_mm
        Voxel edge of the pair.

    References
    ----------
    Freeborough and Fox, The boundary shift integral. IEEE Transactions on Medical Imaging 16, 1997.
    """
    step = max(1, round(GRID_SPACING_MM / spacing_mm))
    edge = step * spacing_mm
    a, b = (smooth_images(_pooled(scan, step), COMMON_BLUR_SD_MM / edge) for scan in (pair.a, pair.b))
    inside = _usable_voxels(pair.inside, step)
    mean, sigma = (a + b) / 2, WINDOW_SD_MM / edge
    terms = _terms(mean, edge) * inside
    shift, error, share = _fit_windows(terms, (b - a) * inside, inside, sigma)
    contrast, _ = _two_tissues(mean, inside, sigma)
    _, enclosed = _two_tissues(mean, inside, ENCLOSING_WINDOW_SD_MM / edge)
    gained = enclosed * shift * _windows(terms[:, :1], sigma) / contrast
    deviation = enclosed * shift / error
    at = int(deviation.abs().argmax())
    return BoundaryShift(
        relative=_on_grid(
            gained / share.clamp(min=MIN_WINDOW_INSIDE_FRACTION), step * WINDOW_STRIDE_VOXELS, pair.inside
        ),
        deviation=_on_grid(deviation, step * WINDOW_STRIDE_VOXELS, pair.inside),
        ml=WINDOW_VOLUME_ML * float(gained.flatten()[at]),
        figure=float(deviation.abs().max()),
    )


def summarise_boundary_shift(found: BoundaryShift, pair: RegisteredPair) -> MapSummary:
    """Summarise local growth in the form that a noise floor reads, see `change_map.MapSummary`.

    The figure is the strongest deviation, which tells more of these smooth maps than a norm. The level is 1 for every
    pair: deviations are in units of their own standard error, and a change over a large region would raise it.
    """
    return replace(
        change_map.summarise_map(found.deviation, pair),
        figure=found.figure,
        level=1.0,
        sign=int(math.copysign(1, found.ml)) if found.ml else 0,
    )


def _pooled(scan: Tensor, step: int) -> Tensor:
    """Average blocks of `step` voxels along each axis: (1, 1, i, j, k)."""
    return functional.avg_pool3d(scan[None, None], step, ceil_mode=True)


def _usable_voxels(inside: Tensor, step: int) -> Tensor:
    """Mask (0 or 1) of voxels whose smoothing and second differences stay in the body and both fields of view."""
    outside = (_pooled(inside.float(), step) < 1).float()
    return 1 - functional.max_pool3d(outside, 5, stride=1, padding=2)


def _terms(mean: Tensor, edge: float) -> Tensor:
    """The nine terms (1, 9, i, j, k): gradient magnitude, three slopes, a constant, the image, three curvatures."""
    slopes = torch.gradient(mean[0, 0], spacing=edge)
    steepness = torch.stack(slopes).square().sum(0).sqrt()
    curvatures = [torch.gradient(slope, spacing=edge, dim=axis)[0] for axis, slope in enumerate(slopes)]
    return torch.stack([steepness, *slopes, torch.ones_like(steepness), mean[0, 0], *curvatures])[None]


def _windows(images: Tensor, sigma: float) -> Tensor:
    """Weighted means in the windows (1, c, i, j, k), on the grid of the windows, which is coarser than the images'."""
    for axis in range(3):
        only = np.eye(3)[axis]
        stride = [WINDOW_STRIDE_VOXELS if along else 1 for along in only]
        images = functional.avg_pool3d(smooth_along_axes(images, sigma * only), stride, ceil_mode=True)
    return images


def _fit_windows(terms: Tensor, difference: Tensor, inside: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Per window: weight of the first term by ridge regression, its standard error, and the window's share inside."""
    count = terms.shape[1]
    rows, columns = torch.triu_indices(count, count)
    products = [terms[:, rows] * terms[:, columns], terms * difference, difference.square(), inside]
    windows = _windows(torch.cat(products, 1), sigma)
    share = windows[:, -1:]
    use = share.flatten() > MIN_WINDOW_INSIDE_FRACTION
    sums = windows[0].flatten(1).T[use].double()
    normal = sums.new_zeros(len(sums), count, count)
    normal[:, rows, columns] = normal[:, columns, rows] = sums[:, : len(rows)]
    right, square = sums[:, len(rows) : -2], sums[:, -2]
    size = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt()
    normal = normal / size[:, :, None] / size[:, None, :] + RIDGE_PENALTY * torch.eye(count, dtype=torch.double)
    first = torch.eye(count, dtype=torch.double)[0].expand_as(right)
    weights, inverse = torch.linalg.solve(normal, torch.stack([right / size, first], 2)).unbind(2)
    left = (square - (weights * right / size).sum(1)).clamp(min=1e-9) / sums[:, -1] / INDEPENDENT_PLACES_PER_WINDOW
    shift, error = torch.zeros_like(share), torch.ones_like(share)
    shift.flatten()[use] = (weights[:, 0] / size[:, 0]).float()
    error.flatten()[use] = ((left * inverse[:, 0]).clamp(min=1e-12).sqrt() / size[:, 0]).float()
    return shift, error, share


def _two_tissues(mean: Tensor, inside: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Per window: the intensity step between its two tissues, and 1 if the rarer one is brighter, else -1.

    From the first three moments. For two values with shares p and 1 - p: skewness^2 + 4 = 1 / (p (1 - p)).
    """
    share, first, second, third = (_windows(inside * mean**power, sigma) for power in range(4))
    share = share.clamp(min=1e-3)
    first, second, third = first / share, second / share, third / share
    spread = (second - first**2).clamp(min=1e-4).sqrt()
    skewness = (third - 3 * first * second + 2 * first**3) / spread**3
    return spread * (skewness.square() + 4).sqrt(), torch.where(skewness > 0, 1.0, -1.0)


def _on_grid(windows: Tensor, factor: int, inside: Tensor) -> Tensor:
    """Interpolate the values of the windows linearly on the pair grid: (i, j, k)."""
    finer = functional.interpolate(windows, scale_factor=factor, mode="trilinear", align_corners=False)[0, 0]
    i, j, k = inside.shape
    return finer[:i, :j, :k] * inside
