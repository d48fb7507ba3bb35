"""Registration of two scans of one patient to each other, half-way, and matching of their intensities.

The grid of a pair is that of the template, resampled to `score.spacing_mm` and cropped to the body. Arrays are
(i, j, k) in RAS+ orientation: i grows to the patient's right, j to anterior, k to superior. Step 1 of
`pair_scoring`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging import registration, resampling
from siamese_med.imaging.intensity import normalise_intensity
from siamese_med.imaging.registration import PAIR_LEVELS
from siamese_med.imaging.resampling import smooth_images
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

BIAS_FIELD_SD_MM = 10.0
"""Ratios of intensity that are smoother than this are taken for the bias field (receive-coil inhomogeneity).

Unit: mm, standard deviation of a Gaussian. Source: our choice."""
BODY_RIM_MM = 6.0
"""The outermost part of the body is left out, because skin moves and the field of view may end there.

Unit: mm. Source: our choice."""
MATCHING_QUANTILES = 256
"""Number of quantiles, from 0 to 1, at which the two histograms are matched."""
MATCHING_ROUNDS = 2
"""Rounds of histogram matching and bias correction. They are alternated, because each needs the other's result."""


@dataclass(frozen=True)
class PairSpace:
    """The grid on which pairs are compared, the same for all pairs of a template.

    Attributes
    ----------
    affine
        4x4, voxel indices to template mm (RAS+); isotropic, without rotation.
    inside
        Mask (i, j, k) of the template's body without its rim.

    Examples
    --------
    >>> space = PairSpace(np.diag([2.0, 2.0, 2.0, 1.0]), np.ones((4, 4, 4), dtype=bool))
    >>> space.spacing_mm, space.voxel_ml
    (2.0, 0.008)
    """

    affine: Matrix
    inside: NDArray[np.bool_]

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel in mm."""
        return float(self.affine[0, 0])

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return self.spacing_mm**3 / 1000


@dataclass(frozen=True)
class RegisteredPair:
    """Two scans of one patient on the pair grid. All images are (i, j, k), float32.

    Attributes
    ----------
    earlier, later
        The two scans as acquired, normalised (air 0, bright tissue 1), for display.
    a, b
        Earlier and later scan with contrast and bias field matched, for measuring.
    inside
        Voxels of the body that both scans show, bool.
    overlap
        Their share of the template's body, 0 to 1.
    quality
        Correlation ratio of the two scans after registration, 0 to 1.
    matrix_earlier, matrix_later
        4x4, template mm to the mm of each scan (RAS+), after pair registration.
    """

    earlier: Tensor
    later: Tensor
    a: Tensor
    b: Tensor
    inside: Tensor
    overlap: float
    quality: float
    matrix_earlier: Matrix
    matrix_later: Matrix


ChangeDetector = Callable[[RegisteredPair, float], Tensor]
"""Function from a registered pair and its voxel edge in mm to signed evidence of change (i, j, k), float32.

The evidence is positive where the later scan is brighter and 0 outside the body. It changes its sign if the scans are
swapped, and is 0 for a scan with itself. A detector can be pickled. `siamese_med.testing` checks all of this."""


def build_pair_space(template: Volume, spacing_mm: float) -> PairSpace:
    """Build the grid on which the pairs of a template are compared.

    The body is what is brighter than the template's mean, with its holes filled. The grid is cropped to it.

    Parameters
    ----------
    template
        Template with isotropic voxels, in RAS+ orientation without rotation.
    spacing_mm
        Voxel edge of the grid, `score.spacing_mm`.
    """
    from scipy.ndimage import binary_erosion, binary_fill_holes, zoom

    body = binary_fill_holes(template.voxels > template.voxels.mean())
    rim = max(1, round(BODY_RIM_MM / float(template.spacing_mm[0])))
    inner = binary_erosion(body, iterations=rim)
    inner = inner if inner.any() else body
    occupied = np.argwhere(body)
    low = np.maximum(occupied.min(0) - 1, 0)
    high = np.minimum(occupied.max(0) + 2, body.shape)
    factor = float(template.spacing_mm[0]) / spacing_mm
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    inside = zoom(inner[box].astype(np.float32), factor, order=1, grid_mode=True, mode="nearest") > 0.5
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    corner = template.affine[:3, :3] @ (low - 0.5) + template.affine[:3, 3]
    affine[:3, 3] = corner + spacing_mm / 2
    return PairSpace(affine, inside)


def register_pair(earlier: Volume, later: Volume, starts: tuple[Matrix, Matrix], space: PairSpace) -> RegisteredPair:
    """Register two scans of one patient, resample each of them once, and match their intensities.

    The registration is rigid and maximises the correlation ratio. Half of its correction moves each scan, so both are
    interpolated alike (Reuter and Fischl, NeuroImage, 2011). Histogram matching and bias correction follow.

    Parameters
    ----------
    earlier, later
        Scans (i, j, k) with their affine to RAS+ mm.
    starts
        4x4 of the earlier and of the later scan, template mm to scan mm; their rigid parts are the starting poses.
    space
        Grid of the result, see `build_pair_space`.

    Returns
    -------
    RegisteredPair
        For a scan with itself, `a` and `b` are equal. `quality` and `overlap` decide whether it can be used.
    """
    matrices, quality = _register_halfway(earlier, later, starts, space)
    shape = space.inside.shape
    parts = [
        resampling.resample_volume(scan, matrix @ space.affine, shape)[0]
        for scan, matrix in zip((earlier, later), matrices, strict=True)
    ]
    valid = (parts[0][1] > 0.5) & (parts[1][1] > 0.5)
    inside = torch.from_numpy(space.inside) & valid
    overlap = float(inside.sum()) / max(1, int(space.inside.sum()))
    a, b = shown = (normalise_intensity(*parts[0]), normalise_intensity(*parts[1]))
    if earlier.content_digest() == later.content_digest():
        b = a
    else:
        for _ in range(MATCHING_ROUNDS):
            a = _match_histogram(a, b, inside)
            a, b = _remove_relative_bias(a, b, inside, space.spacing_mm)
    return RegisteredPair(*shown, a, b, inside, overlap, quality, *matrices)


def _register_halfway(
    earlier: Volume, later: Volume, starts: tuple[Matrix, Matrix], space: PairSpace
) -> tuple[tuple[Matrix, Matrix], float]:
    """Rigid registration whose correction is shared equally between the two scans.

    If the scans were registered to the template with scaling, the scaling is dropped here: a different one for each
    date would hide growth.
    """
    from scipy.linalg import fractional_matrix_power

    starts = registration.project_to_rigid(starts[0]), registration.project_to_rigid(starts[1])
    coarse = max(1, round(3.0 / space.spacing_mm))
    affine = space.affine.copy()
    affine[:3, :3] *= coarse
    shape = [-(-n // coarse) for n in space.inside.shape]
    voxels, valid = resampling.resample_volume(earlier, starts[0] @ affine, shape)[0]
    fixed = Volume(voxels.numpy(), affine)
    found = registration.register_scans([later], fixed, PAIR_LEVELS, [starts[1]], inside=valid.numpy() > 0.5)[0]
    correction = np.linalg.inv(starts[1]) @ found.matrix
    if np.allclose(correction, np.eye(4), atol=1e-9):
        return starts, found.correlation_ratio
    half = np.real(fractional_matrix_power(correction, 0.5))
    return (starts[0] @ np.linalg.inv(half), starts[1] @ correction @ np.linalg.inv(half)), found.correlation_ratio


def _remove_relative_bias(a: Tensor, b: Tensor, inside: Tensor, spacing_mm: float) -> tuple[Tensor, Tensor]:
    """Remove the smooth ratio of the two scans, half from each; computed on a coarse grid, since it is smooth."""
    import torch.nn.functional as functional

    step = max(1, round(BIAS_FIELD_SD_MM / 3 / spacing_mm))
    mask = inside.float()[None, None]
    levels = [functional.avg_pool3d(scan[None, None] * mask, step, ceil_mode=True) for scan in (a, b)]
    sigma = BIAS_FIELD_SD_MM / spacing_mm / step
    first, second = (smooth_images(level, sigma).clamp(min=1e-3) for level in levels)
    weight = smooth_images(functional.avg_pool3d(mask, step, ceil_mode=True), sigma)
    ratio = torch.where(weight > 0.05, (second / first).clamp(0.5, 2.0), torch.ones_like(first))
    root = functional.interpolate(ratio, size=a.shape, mode="trilinear", align_corners=False)[0, 0].sqrt()
    return a * root, b / root


def _match_histogram(a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """Map `a` to the intensity scale of `b` by the monotone function that makes their histograms in the body equal."""
    levels = torch.linspace(0, 1, MATCHING_QUANTILES)
    known = [values[:: max(1, values.numel() // 100_000)] for values in (a[inside], b[inside])]
    if known[0].numel() < MATCHING_QUANTILES:
        return a
    source, goal = (torch.quantile(values, levels).numpy() for values in known)
    source = source + np.arange(MATCHING_QUANTILES) * 1e-7  # strictly rising, or the map is not unique
    matched = a.clone()
    matched[inside] = torch.from_numpy(np.interp(a[inside].numpy(), source, goal).astype(np.float32))
    return matched
