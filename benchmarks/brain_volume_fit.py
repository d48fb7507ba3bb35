"""Change of the whole brain's volume in a registered pair, and of its lateral ventricles', without training.

A smooth deformation is fitted to the difference of the two scans, and the change of volume is the integral of its
divergence over the brain (its Jacobian, to first order). The grid is cut into cubes. In each of them the difference is
explained by a shift of the mean image's edges along three axes, and by five terms that are no change: brightness,
contrast, and sharpness along each axis. These five are eliminated cube by cube. What remains tells
of the shift of each cube with its precision; to all of them together one polynomial is fitted, and an expansion of the
lateral ventricles into the tissue around them::

    later - earlier = - gradient(mean) . u + terms of the cube,   u(x) = polynomial(x) + e normal(x)
    percent = 100 (mean over tissue of div u - e flux / tissue)

Where a brain mask ends does not enter: the mask only says over which place the mean is taken.

References
----------
Shift from brightness: Lucas and Kanade, IJCAI 1981. Change of volume as the integral of a deformation's divergence, and
half-way between two dates so that neither is preferred: Smith et al. (SIENA), NeuroImage 2002; Reuter and Fischl,
NeuroImage 2011. Percent of brain volume: Freeborough and Fox, IEEE Transactions on Medical Imaging 1997.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from siamese_med.brain.structures import Structure
from siamese_med.imaging.resampling import resample_volume, smooth_images
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change.pair_registration import RegisteredPair

CUBE_MM = 12.0
"""Edge of a cube. In smaller ones the nine terms explain noise, in larger ones brightness and contrast vary."""
BLUR_SD_MM = 1.5
"""Standard deviation of the smoothing of both scans: a shift has to be smaller than what it smooths."""
MARGIN_MM = 3.0
"""What lies this far outside the brain counts too: the fluid on the other side of the brain's edge."""
POLYNOMIAL_DEGREE = 1
"""Degree of the deformation, in each of its three components."""
SCALE_MM = 100.0
"""Coordinates are divided by this, so that powers stay of one size."""
MIN_CUBE_SHARE = 0.2
"""Cubes of which less is in or at the brain are left out."""
NOISE_FLOOR_SHARE = 0.25
"""A cube's weight is one over its residual variance, plus this share of the median of all."""
RIDGE_PENALTY = 1e-5
"""Ridge penalty of the terms that are no change, relative to the size of each."""
VENTRICLE_REACH_SD_MM = 5.0
"""How far into the tissue the expansion of the ventricles reaches: standard deviation of a Gaussian."""
VENTRICLE_GRID_MM = 3.0
"""Voxel edge at which the ventricles are drawn."""
MIN_VENTRICLES_ML = 5.0
"""Smaller ventricles are hardly more than their own edge; their change is not measured."""
DEPTH_MM, MAX_DEEP_SHARE = 9.0, 0.5
"""A cube lies deep if more than this share of it is at least so far inside the brain. The brain's edge is fitted
without such cubes: what ventricles push about them would bend the polynomial."""
MIN_CUBES = 100
"""With fewer cubes the polynomial is not determined."""
VENTRICLES = (Structure.LEFT_LATERAL_VENTRICLE, Structure.RIGHT_LATERAL_VENTRICLE)


@dataclass(frozen=True)
class VolumeChange:
    """Change of volume from the earlier to the later scan; a gain is positive.

    Attributes
    ----------
    percent
        Of the brain without its lateral ventricles, in percent.
    percent_error
        Standard error of the fit alone. That of a rescan is larger, see `volume_error`.
    ventricles_ml
        Gain of the lateral ventricles in mL; 0 with `ventricles_error` 0 where none were given.
    ventricles_error
        Standard error of the fit alone.

    Examples
    --------
    >>> VolumeChange(-0.5, 0.02, 0.8, 0.1).swap().percent
    0.5
    """

    percent: float
    percent_error: float
    ventricles_ml: float
    ventricles_error: float

    def swap(self) -> VolumeChange:
        """Return the change as it is for the two scans exchanged."""
        return replace(self, percent=-self.percent, ventricles_ml=-self.ventricles_ml)


class _Cubes(NamedTuple):
    """Of each cube: products of the shifts (b, s, s), these with the difference (b, s), and residual variance (b,)."""

    products: Tensor
    right: Tensor
    variance: Tensor


class _Expansion(NamedTuple):
    """An expansion of the ventricles: their volume in mL, displacements (3, i, j, k) and the mL that these gain."""

    volume_ml: float
    displacement: Tensor
    gain_ml: float


def measure_volume_change(pair: RegisteredPair, structures: tuple[Volume | None, Volume | None]) -> VolumeChange | None:
    """Measure the change of brain volume in a registered pair. It changes its sign exactly if the scans are exchanged.

    Parameters
    ----------
    pair
        The registered scans. What is compared has to be the brain. Brightness is taken as acquired: matched histograms
        would undo some of a change, since the share of fluid is part of it.
    structures
        Numbers of `Structure` (i, j, k) of each scan, on grids of their own in the mm of the scans. Where one of them
        is None, no change of the ventricles is measured, and the brain counts with them.

    Returns
    -------
    VolumeChange or None
        None where no brain is known, or too little of it is shown to fit a deformation to.

    Examples
    --------
    """
    if pair.space.whole_body:
        return None
    ventricles = _draw_ventricles(pair, structures)
    terms, energy, used = _make_terms(pair, ventricles)
    signals = len(terms) - 6
    edge = max(2, round(CUBE_MM / pair.space.spacing_mm))
    share, deep = _into_cubes(torch.stack([used, _find_depth(pair)]), edge).mean(1).unbind(1)
    kept = share > MIN_CUBE_SHARE
    if int(kept.sum()) < MIN_CUBES:
        return None
    cubes = _eliminate(_into_cubes(terms, edge)[kept], share[kept] * edge**3, signals)
    places = (_weighted_centres(energy, edge, kept) - pair.inside.nonzero().double().mean(0)) * pair.space.spacing_mm
    return _combine(pair, cubes, places, deep[kept] > MAX_DEEP_SHARE, ventricles)


def _make_terms(pair: RegisteredPair, ventricles: _Expansion | None) -> tuple[Tensor, Tensor, Tensor]:
    """The difference and what explains it (c, i, j, k): three or four shifts, three curvatures, the mean and 1; the
    energy of edges (i, j, k), by which a cube's shift is placed; and the voxels that are used, 0 or 1."""
    spacing = pair.space.spacing_mm
    a, b = (smooth_images(scan[None, None], BLUR_SD_MM / spacing)[0, 0] for scan in (pair.earlier, pair.later))
    mean, difference = (a + b) / 2, b - a
    slopes = torch.stack([_slope(mean, axis) / spacing for axis in range(3)])
    curvatures = [_slope(slope, axis) / spacing for axis, slope in enumerate(slopes)]
    used = _grow(pair.inside.float(), round(MARGIN_MM / spacing))
    shifts = [*-slopes] if ventricles is None else [*-slopes, -(slopes * ventricles.displacement).sum(0)]
    terms = torch.stack([difference, *shifts, *curvatures, mean, torch.ones_like(mean)])
    return terms * used, slopes.square().sum(0) * used, used


def _grow(mask: Tensor, voxels: int) -> Tensor:
    """Grow a mask (i, j, k), 0 or 1, by a cube of so many voxels in each direction."""
    for axis in range(3):
        size, padding = (
            [n if other == axis else least for other in range(3)] for n, least in ((2 * voxels + 1, 1), (voxels, 0))
        )
        mask = functional.max_pool3d(mask[None, None], size, stride=1, padding=padding)[0, 0]
    return mask


def _slope(image: Tensor, axis: int) -> Tensor:
    """The derivative along an axis, per voxel, by five points: the usual three make edges of two voxels too flat."""
    padding = [2 * (other == axis) for other in (2, 2, 1, 1, 0, 0)]
    padded = functional.pad(image[None, None], padding, mode="replicate")[0, 0]
    ahead = [padded.narrow(axis, 2 + step, image.shape[axis]) for step in (1, -1, 2, -2)]
    return (8 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / 12


def _find_depth(pair: RegisteredPair) -> Tensor:
    """1 where the brain's edge is at least DEPTH_MM away, else 0: (i, j, k)."""
    return 1 - _grow(1 - pair.inside.float(), round(DEPTH_MM / pair.space.spacing_mm))


def _into_cubes(images: Tensor, edge: int) -> Tensor:
    """Cut images (c, i, j, k) into cubes: (cubes, voxels of a cube, c). What the last ones lack is 0."""
    padding = [n for length in reversed(images.shape[1:]) for n in (0, -length % edge)]
    images = functional.pad(images, padding)
    i, j, k = (length // edge for length in images.shape[1:])
    cubes = images.reshape(len(images), i, edge, j, edge, k, edge).permute(1, 3, 5, 2, 4, 6, 0)
    return cubes.reshape(i * j * k, edge**3, len(images))


def _eliminate(cubes: Tensor, voxels: Tensor, signals: int) -> _Cubes:
    """Per cube, what is left of the shifts when the other terms have explained what they can."""
    used, contrast = cubes[:, :, -1:], cubes[:, :, -2:-1]
    contrast = contrast - used * contrast.sum(1, keepdim=True) / used.sum(1, keepdim=True)  # or it is almost constant
    cubes = torch.cat([cubes[:, :, :-2], contrast, used], 2)
    sums = (cubes.transpose(1, 2) @ cubes).double()
    size = sums.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt()
    sums = sums / size[:, :, None] / size[:, None, :]
    kept = signals + 1
    other = sums[:, kept:, kept:] + RIDGE_PENALTY * torch.eye(sums.shape[1] - kept, dtype=torch.double)
    across = sums[:, kept:, :kept]
    both = sums[:, :kept, :kept] - across.transpose(1, 2) @ torch.linalg.solve(other, across)
    both = both * size[:, :kept, None] * size[:, None, :kept]
    return _Cubes(both[:, 1:, 1:], both[:, 1:, 0], both[:, 0, 0].clamp(min=1e-12) / voxels)


def _weighted_centres(energy: Tensor, edge: int, kept: Tensor) -> Tensor:
    """Where the edges of each cube lie on average, in voxels (b, 3)."""
    places = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in energy.shape), indexing="ij"))
    cubes = _into_cubes(torch.cat([energy[None], energy * places]), edge)[kept].sum(1).double()
    return cubes[:, 1:] / cubes[:, :1].clamp(min=1e-12)


def _powers() -> list[tuple[int, int, int]]:
    every = range(POLYNOMIAL_DEGREE + 1)
    return [(i, j, k) for i in every for j in every for k in every if i + j + k <= POLYNOMIAL_DEGREE]


def _design(places_mm: Tensor, signals: int) -> Tensor:
    """The shifts of each cube by the coefficients, the ventricles' one last: (b, signals, coefficients)."""
    x, y, z = (places_mm / SCALE_MM).unbind(1)
    monomials = torch.stack([x**i * y**j * z**k for i, j, k in _powers()], 1)
    count = monomials.shape[1]
    design = torch.zeros(len(x), signals, 3 * count + signals - 3, dtype=torch.double)
    for axis in range(3):
        design[:, axis, axis * count : (axis + 1) * count] = monomials
    if signals > 3:
        design[:, 3, -1] = 1
    return design


def _solve(cubes: _Cubes, places_mm: Tensor, chosen: Tensor, signals: int) -> tuple[Tensor, Tensor]:
    """Fit the deformation to some of the cubes: its coefficients, and their covariance as far as the fit tells."""
    weight = 1 / (cubes.variance + NOISE_FLOOR_SHARE * cubes.variance[chosen].median()).clamp(min=1e-12) * chosen
    design = _design(places_mm, signals)
    products, right = cubes.products[:, :signals, :signals], cubes.right[:, :signals]
    normal = torch.einsum("bik,b,bij,bjl->kl", design, weight, products, design)
    goal = torch.einsum("bik,b,bi->k", design, weight, right)
    size = normal.diagonal().clamp(min=1e-12).sqrt()
    inverse = torch.linalg.inv(normal / size[:, None] / size + 1e-6 * torch.eye(len(size), dtype=torch.double))
    inverse = inverse / size[:, None] / size
    return inverse @ goal, inverse


def _combine(
    pair: RegisteredPair, cubes: _Cubes, places_mm: Tensor, deep: Tensor, ventricles: _Expansion | None
) -> VolumeChange:
    """The change of volume: what the brain's edge gained, less what the ventricles gained."""
    outer, spread = _solve(cubes, places_mm, ~deep, 3)
    weights = _divergence(pair)
    brain_ml = float(pair.inside.sum()) * pair.space.voxel_ml
    edge, edge_error = brain_ml * float(weights @ outer), brain_ml * _error(weights, spread)
    if ventricles is None:
        return VolumeChange(100 * edge / brain_ml, 100 * edge_error / brain_ml, 0.0, 0.0)
    inner, spread = _solve(cubes, places_mm, torch.ones_like(deep), 4)
    gained = torch.cat([weights * ventricles.volume_ml, torch.tensor([ventricles.gain_ml], dtype=torch.double)])
    gain, gain_error = float(gained @ inner), _error(gained, spread)
    tissue_ml = brain_ml - ventricles.volume_ml
    return VolumeChange(
        100 * (edge - gain) / tissue_ml, 100 * math.hypot(edge_error, gain_error) / tissue_ml, gain, gain_error
    )


def _divergence(pair: RegisteredPair) -> Tensor:
    """The mean divergence of the polynomial over the brain, by its coefficients."""
    places = pair.inside.nonzero().double()
    places = (places - places.mean(0)) * pair.space.spacing_mm / SCALE_MM
    powers = _powers()
    weights = torch.zeros(3 * len(powers), dtype=torch.double)
    for axis in range(3):
        for number, power in enumerate(powers):
            if power[axis]:
                lower = [n - (a == axis) for a, n in enumerate(power)]
                mean = float((places ** torch.tensor(lower)).prod(1).mean())
                weights[axis * len(powers) + number] = power[axis] * mean / SCALE_MM
    return weights


def _error(weights: Tensor, inverse: Tensor) -> float:
    return math.sqrt(max(0.0, float(weights @ inverse @ weights)))


def _draw_ventricles(pair: RegisteredPair, structures: Sequence[Volume | None]) -> _Expansion | None:
    """The expansion of the lateral ventricles, as both scans show them on average: outwards, and less with distance."""
    step = max(1, round(VENTRICLE_GRID_MM / pair.space.spacing_mm))
    edge = step * pair.space.spacing_mm
    shape = [-(-length // step) for length in pair.a.shape]
    coarse = pair.space.affine.copy()
    coarse[:3, :3] *= step
    coarse[:3, 3] += (step - 1) / 2 * pair.space.spacing_mm
    masks = []
    for labels, matrix in zip(structures, (pair.matrix_earlier, pair.matrix_later), strict=True):
        if labels is None:
            return None
        marked = sum(labels.voxels == int(part) for part in VENTRICLES)
        masks.append(resample_volume(Volume(marked.astype("float32"), labels.affine), matrix @ coarse, shape)[0, 0])
    mask = (masks[0] + masks[1]) / 2
    volume_ml = float(mask.sum()) * edge**3 / 1000
    if volume_ml < MIN_VENTRICLES_ML:
        return None
    spread = smooth_images(mask[None, None], VENTRICLE_REACH_SD_MM / edge)[0, 0]
    outwards = -torch.stack(torch.gradient(spread, spacing=edge)) * VENTRICLE_REACH_SD_MM
    growth = sum(torch.gradient(outwards[axis], spacing=edge, dim=axis)[0] for axis in range(3))
    gain_ml = float((growth * mask).sum()) * edge**3 / 1000
    finer = functional.interpolate(outwards[None], scale_factor=step, mode="trilinear", align_corners=False)[0]
    i, j, k = pair.a.shape
    return _Expansion(volume_ml, finer[:, :i, :j, :k], gain_ml)
