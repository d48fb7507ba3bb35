"""How far the boundaries between tissues have moved: local volume change, without training.

The boundary shift integral (Freeborough and Fox, IEEE Transactions on Medical Imaging, 1997), in a Gaussian window
around every place. There, what differs between two aligned scans is explained by a shift of all edges towards the
brighter or the darker side and, beside it, by what is no change: what is left of the misalignment, brightness and
contrast, and sharpness along each axis, which differs with the direction and the thickness of slices.
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
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair

WINDOW_SD_MM = 8.0
"""Standard deviation of the window: with less, the nine terms explain noise; with more, contrast varies in it."""
ENCLOSING_WINDOW_SD_MM = 20.0
"""The window that says which tissue is the enclosed one; in a smaller one large ventricles outweigh the brain."""
GRID_SPACING_MM = 3.0
COMMON_BLUR_SD_MM = 2.0
"""Both scans are smoothed by so much, so that their own sharpness matters less."""
WINDOW_STRIDE_VOXELS = 2
"""Windows are so many voxels of GRID_MM apart."""
MIN_WINDOW_INSIDE_FRACTION = 0.3
"""A window with less of it in the body is left out."""
RIDGE_PENALTY = 1e-3
"""Relative to each term's size: terms that a window cannot tell apart share what they explain."""
INDEPENDENT_PLACES_PER_WINDOW = (WINDOW_SD_MM / COMMON_BLUR_SD_MM) ** 3
"""Places of a window whose noise is not that of their neighbours."""
WINDOW_VOLUME_ML = (2 * math.pi) ** 1.5 * WINDOW_SD_MM**3 / 1000


@dataclass(frozen=True)
class BoundaryShift:
    """Local volume change from the earlier scan to the later; maps on the pair's grid, 0 where nothing is known.

    relative: what the enclosed tissue around a voxel, the rarer one, has gained, as a share of the window's volume.
    deviation: the same in units of the fit's error, not yet of what a rescan gives. ml: gained in the window where the
    deviation is strongest. figure: that deviation without its sign.
    """

    relative: Tensor
    deviation: Tensor
    ml: float
    figure: float


def measure_boundary_shift(pair: RegisteredPair, spacing_mm: float) -> BoundaryShift:
    """The negative for swapped scans, nothing for a scan with itself; positive where the enclosed tissue grew."""
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


def summarise_boundary_shift(found: BoundaryShift, pair: RegisteredPair, space: PairSpace) -> MapSummary:
    """What a floor reads: the strongest deviation, which on these smooth maps tells more than the norm of all.

    The level is 1 for all: a deviation is in units of its own window's error, and a change that reaches far raises it.
    """
    return replace(
        change_map.summarise_map(found.deviation, pair, space),
        figure=found.figure,
        level=1.0,
        sign=int(math.copysign(1, found.ml)) if found.ml else 0,
    )


def _pooled(scan: Tensor, step: int) -> Tensor:
    """Means of blocks: (1, 1, i, j, k)."""
    return functional.avg_pool3d(scan[None, None], step, ceil_mode=True)


def _usable_voxels(inside: Tensor, step: int) -> Tensor:
    """Where smoothing and second differences stay in the body and in both fields of view: 0 or 1."""
    outside = (_pooled(inside.float(), step) < 1).float()
    return 1 - functional.max_pool3d(outside, 5, stride=1, padding=2)


def _terms(mean: Tensor, edge: float) -> Tensor:
    """What may explain a difference, (1, 9, i, j, k): steepness first; slopes, a constant, the image, curvatures."""
    slopes = torch.gradient(mean[0, 0], spacing=edge)
    steepness = torch.stack(slopes).square().sum(0).sqrt()
    curvatures = [torch.gradient(slope, spacing=edge, dim=axis)[0] for axis, slope in enumerate(slopes)]
    return torch.stack([steepness, *slopes, torch.ones_like(steepness), mean[0, 0], *curvatures])[None]


def _windows(images: Tensor, sigma: float) -> Tensor:
    """Weighted means in the windows: (1, c, i, j, k) on the windows' grid, made coarser after each axis."""
    for axis in range(3):
        only = np.eye(3)[axis]
        stride = [WINDOW_STRIDE_VOXELS if along else 1 for along in only]
        images = functional.avg_pool3d(smooth_along_axes(images, sigma * only), stride, ceil_mode=True)
    return images


def _fit_windows(terms: Tensor, difference: Tensor, inside: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weight of the first term in each window's least squares, its standard error, and the window's share inside."""
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
    """The step between a window's two tissues, from its first three moments; and 1, or -1 where the rarer is dark.

    Of a mixture of two values with shares p and 1 - p: skewness^2 + 4 = 1 / (p (1 - p)).
    """
    share, first, second, third = (_windows(inside * mean**power, sigma) for power in range(4))
    share = share.clamp(min=1e-3)
    first, second, third = first / share, second / share, third / share
    spread = (second - first**2).clamp(min=1e-4).sqrt()
    skewness = (third - 3 * first * second + 2 * first**3) / spread**3
    return spread * (skewness.square() + 4).sqrt(), torch.where(skewness > 0, 1.0, -1.0)


def _on_grid(windows: Tensor, factor: int, inside: Tensor) -> Tensor:
    """The windows' values on the pair's grid, linearly: (i, j, k)."""
    finer = functional.interpolate(windows, scale_factor=factor, mode="trilinear", align_corners=False)[0, 0]
    i, j, k = inside.shape
    return finer[:i, :j, :k] * inside
