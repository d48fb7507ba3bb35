"""Two scans of one patient, laid on each other half-way and brought to one scale of brightness.

The pair's space is the template's, at the spacing of `ScoreConfig`, cut to the body; arrays are (i, j, k), RAS+.
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
"""Coarser differences in brightness are taken for the bias field (standard deviation of the smoothing)."""
BODY_RIM_MM = 6.0
"""The body's outermost part is left out: skin moves, and the edge of the field of view lies there."""
MATCHING_QUANTILES = 256
MATCHING_ROUNDS = 2
"""Contrast and bias field hide each other, so they are removed in turn."""


@dataclass(frozen=True)
class PairSpace:
    """The grid on which pairs are compared: affine to template mm, and the inside of the body."""

    affine: Matrix
    inside: NDArray[np.bool_]

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel."""
        return float(self.affine[0, 0])

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return self.spacing_mm**3 / 1000


@dataclass(frozen=True)
class RegisteredPair:
    """One pair on the pair's grid.

    earlier, later: as scanned, normalised. a, b: the same two on one scale, contrast and bias field matched.
    inside: voxels of the body that both show; overlap: their share of the body. quality: of the pair's alignment.
    matrix_earlier, matrix_later: 4x4, the pair's mm to those of each scan.
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
"""From a pair and its spacing in mm to signed evidence of change (i, j, k), float32: positive where the later scan is
brighter, 0 outside the body, the negative for swapped scans and 0 for a scan with itself. It can be pickled."""


def build_pair_space(template: Volume, spacing_mm: float) -> PairSpace:
    """The body of the template (bright, filled, without its rim) on a finer grid that just holds it."""
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
    """Align the pair, resample each scan once, and match brightness; `starts` are the alignments to the template.

    A scan laid on itself matches itself exactly.
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
    """Rigid pair alignment, its correction shared equally, so that both scans are interpolated alike.

    Where scans were stretched to the template, they are not here: a stretch of its own for each date would hide growth.
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
    """Remove the smooth ratio of the two, half from each; computed coarsely, since it is smooth."""
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
    """`a` on the intensity scale of `b`: the monotone map that makes their distributions inside the body equal."""
    levels = torch.linspace(0, 1, MATCHING_QUANTILES)
    known = [values[:: max(1, values.numel() // 100_000)] for values in (a[inside], b[inside])]
    if known[0].numel() < MATCHING_QUANTILES:
        return a
    source, goal = (torch.quantile(values, levels).numpy() for values in known)
    source = source + np.arange(MATCHING_QUANTILES) * 1e-7  # strictly rising, or the map is not unique
    matched = a.clone()
    matched[inside] = torch.from_numpy(np.interp(a[inside].numpy(), source, goal).astype(np.float32))
    return matched
