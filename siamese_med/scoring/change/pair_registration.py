"""Registration of two scans of one patient to each other, half-way, and matching of their intensities.

Each pair has a grid of its own, half-way between its two scans: along the axes of the scanner's mm, around what is
compared. That is the brain, or the mask of both scans, and otherwise the body. No template is needed. Arrays are
(i, j, k) in RAS+ orientation: i grows to the patient's right, j to anterior, k to superior. Step 1 of `pair_scoring`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging import registration_side, resampling, symmetric_registration
from siamese_med.imaging.intensity import IntensityLevels, measure_intensity_levels, scale_intensity
from siamese_med.imaging.resampling import smooth_images
from siamese_med.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

BIAS_FIELD_SD_MM = 8.0
"""Ratios of intensity that are smoother than this are taken for the bias field (receive-coil inhomogeneity).

Unit: mm, standard deviation of a Gaussian. Source: our choice among 7 to 10, by `benchmarks.matched_intensities`."""
BIAS_CELLS_PER_SD = 2
"""The bias field is measured on cells with this part of its standard deviation for an edge. Source: our choice."""
BIAS_ROUNDS = 4
"""The field is measured again this many times, without cells that differ by much more than the field.

They are lesions. If they counted, the field would take a part of each away, and darken what lies around it. Source:
`benchmarks.matched_intensities`."""
OUTLIER_SPREADS = 6.0
"""Cells that differ by so many robust standard deviations do not count, others the less the more they differ.

Source: the biweight of Mosteller and Tukey, Data Analysis and Regression, 1977."""
OUTLIER_WEIGHT = 0.02
"""Least weight of a cell, so that there is a field inside a large lesion too. Source: our choice."""
BODY_RIM_MM = 6.0
"""Rim of the body that is left out where no brain is found: skin moves, and the field of view may end there.

Unit: mm. Source: our choice."""
GRID_MARGIN_MM = 10.0
"""The grid of a pair reaches this far beyond what is compared, so that its pictures show the surroundings.

Unit: mm. Source: our choice."""
MASK_THRESHOLD = 0.5
"""Mean of both scans' mask values from which a voxel is compared."""
MAX_MEASURED_VOXELS = 20_000
"""The grid is laid around about this many voxels of each mask, to save time."""
MATCHING_QUANTILES = 256
"""Number of quantiles, from 0 to 1, at which the two histograms are matched."""
MATCHING_ROUNDS = 4
"""Rounds of histogram matching and bias correction. They are alternated, because each needs the other's result."""


@dataclass(frozen=True)
class PairSpace:
    """The grid on which a pair is compared.

    Attributes
    ----------
    affine
        4x4, voxel indices to pair mm (RAS+); isotropic, without rotation.
    inside
        Mask (i, j, k) of what is compared where both scans show it: the brain, or the body without its rim.
    whole_body
        Whether that is the body, since no brain and no mask of one of the scans is known.

    Examples
    --------
    >>> space = PairSpace(np.diag([2.0, 2.0, 2.0, 1.0]), np.ones((4, 4, 4), dtype=bool))
    >>> space.spacing_mm, space.voxel_ml
    (2.0, 0.008)
    """

    affine: Matrix
    inside: NDArray[np.bool_]
    whole_body: bool = False

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
    space
        The grid.
    earlier, later
        The two scans as acquired, normalised (air 0, bright tissue 1), for display.
    a, b
        Earlier and later scan with contrast and bias field matched, for measuring.
    inside
        Voxels of `space.inside` that both scans show, bool.
    overlap
        Their share of `space.inside`, 0 to 1.
    quality
        How distinct the pose is, 0 to 1, see `symmetric_registration.ScanPairPose`.
    matrix_earlier, matrix_later
        4x4, rigid, pair mm to the mm of each scan (RAS+).
    levels
        The intensities of the earlier and the later scan, in scanner units, that are 0 and 1 in `earlier` and `later`.
    """

    space: PairSpace
    earlier: Tensor
    later: Tensor
    a: Tensor
    b: Tensor
    inside: Tensor
    overlap: float
    quality: float
    matrix_earlier: Matrix
    matrix_later: Matrix
    levels: tuple[IntensityLevels, IntensityLevels] = ((0.0, 1.0), (0.0, 1.0))

    def swap(self) -> RegisteredPair:
        """Return the pair with the two scans exchanged, on the same grid."""
        return replace(
            self,
            earlier=self.later,
            later=self.earlier,
            a=self.b,
            b=self.a,
            matrix_earlier=self.matrix_later,
            matrix_later=self.matrix_earlier,
            levels=(self.levels[1], self.levels[0]),
        )


ChangeDetector = Callable[[RegisteredPair, float], Tensor]
"""Function from a registered pair and its voxel edge in mm to signed evidence of change (i, j, k), float32.

The evidence is positive where the later scan is brighter and 0 outside the body. It changes its sign if the scans are
swapped, and is 0 for a scan with itself. A detector can be pickled. `siamese_med.testing` checks all of this. Several
threads may call it at once."""


def register_pair(
    earlier: Volume, later: Volume, regions: tuple[Volume | None, Volume | None], spacing_mm: float
) -> RegisteredPair:
    """Register two scans of one patient to each other, resample each of them once, and match their intensities.

    The registration is rigid (`symmetric_registration`). Half of it moves each scan, so both are interpolated alike
    (Reuter and Fischl, NeuroImage, 2011). Histogram matching and bias correction follow.

    Parameters
    ----------
    earlier, later
        Scans (i, j, k) with their affine to RAS+ mm.
    regions
        What is compared, such as the probability (i, j, k), 0 to 1, that a voxel is brain, on a grid of its own in the
        mm of each scan. Where one of them is None, it is the body of both scans, without its rim.
    spacing_mm
        Voxel edge of the grid, `score.spacing_mm`.

    Returns
    -------
    RegisteredPair
        For a scan with itself, `a` and `b` are equal. `quality` and `overlap` decide whether it can be used.
    """
    pose = symmetric_registration.register_scan_pair(earlier, later, regions)
    half = _halve_rigid_transform(pose.matrix)
    matrices: tuple[Matrix, Matrix] = np.asarray(np.linalg.inv(half)), half
    space, parts = _resample_both((earlier, later), regions, matrices, spacing_mm)
    inside = torch.from_numpy(space.inside) & (parts[0][1] > 0.5) & (parts[1][1] > 0.5)
    overlap = float(inside.sum()) / max(1, int(space.inside.sum()))
    levels = (measure_intensity_levels(*parts[0]), measure_intensity_levels(*parts[1]))
    a, b = shown = (
        scale_intensity(parts[0][0], parts[0][1], levels[0]),
        scale_intensity(parts[1][0], parts[1][1], levels[1]),
    )
    if earlier.content_digest() == later.content_digest():
        b = a
    else:
        a, b = match_intensities(a, b, inside, space.spacing_mm)
    return RegisteredPair(space, *shown, a, b, inside, overlap, pose.quality, *matrices, levels)


def match_intensities(a: Tensor, b: Tensor, inside: Tensor, spacing_mm: float) -> tuple[Tensor, Tensor]:
    """Match the histograms of two normalised scans (i, j, k) where both show the body, and remove their relative bias.

    The bias comes first: what a coil makes bright would else be stretched to the brightness of the other scan's
    vessels, and look like a lesion.

    `inside` (i, j, k) is the mask that is compared, and `spacing_mm` the voxel edge of the grid.
    """
    a, b = remove_relative_bias(a, b, inside, spacing_mm)
    for _ in range(MATCHING_ROUNDS):
        a, b = equalise_histograms(a, b, inside)
        a, b = remove_relative_bias(a, b, inside, spacing_mm)
    return a, b


def _halve_rigid_transform(matrix: Matrix) -> Matrix:
    """The rigid transform (4x4) that gives `matrix` when it is applied twice."""
    from scipy.spatial.transform import Rotation

    half = np.eye(4)
    half[:3, :3] = Rotation.from_rotvec(Rotation.from_matrix(matrix[:3, :3]).as_rotvec() / 2).as_matrix()
    half[:3, 3] = np.linalg.solve(np.eye(3) + half[:3, :3], matrix[:3, 3])
    return half


def _resample_both(
    scans: tuple[Volume, Volume],
    regions: tuple[Volume | None, Volume | None],
    matrices: tuple[Matrix, Matrix],
    spacing_mm: float,
) -> tuple[PairSpace, list[Tensor]]:
    """Lay the grid of a pair, and resample the scans to it: for each, intensities and field of view (2, i, j, k)."""
    known = [region for region in regions if region is not None]
    whole = len(known) < len(regions)
    masks = [registration_side.find_body(scan) for scan in scans] if whole else known
    affine, shape = _lay_grid_around(masks, matrices, spacing_mm)
    parts = [
        resampling.resample_volume(scan, matrix @ affine, shape)[0]
        for scan, matrix in zip(scans, matrices, strict=True)
    ]
    marked = [
        resampling.resample_volume(mask, matrix @ affine, shape)[0, 0]
        for mask, matrix in zip(masks, matrices, strict=True)
    ]
    compared = _find_compared_region(marked, [part[1] for part in parts], spacing_mm, whole)
    return PairSpace(affine, compared.numpy(), whole), parts


def _find_compared_region(
    masks: Sequence[Tensor], shown: Sequence[Tensor], spacing_mm: float, whole_body: bool
) -> Tensor:
    """The voxels (i, j, k) that are compared where both scans show them.

    A voxel counts if the mean of the masks of those scans that show it (`shown`, 0 or 1) is high enough. So neither
    scan decides alone, and what only one of them shows counts as missing overlap.
    """
    from scipy.ndimage import binary_erosion

    marked = masks[0] * shown[0] + masks[1] * shown[1]
    region = (marked >= MASK_THRESHOLD * (shown[0] + shown[1])) & (marked > 0)
    if not whole_body:
        return region
    inner = binary_erosion(region.numpy(), iterations=max(1, round(BODY_RIM_MM / spacing_mm)))
    return torch.from_numpy(inner) if inner.any() else region


def _lay_grid_around(
    masks: Sequence[Volume], matrices: tuple[Matrix, Matrix], spacing_mm: float
) -> tuple[Matrix, tuple[int, int, int]]:
    """Affine (4x4, to pair mm) and shape of the smallest grid around the masks and GRID_MARGIN_MM."""
    ends = []
    for mask, matrix in zip(masks, matrices, strict=True):
        marked = np.argwhere(mask.voxels >= MASK_THRESHOLD)
        marked = marked[:: max(1, len(marked) // MAX_MEASURED_VOXELS)]  # the margin is wider than what this misses
        to_pair = np.linalg.inv(matrix) @ mask.affine
        places = marked @ to_pair[:3, :3].T + to_pair[:3, 3]
        ends.append((places.min(0), places.max(0)))
    low = np.min([first for first, _ in ends], axis=0) - GRID_MARGIN_MM
    high = np.max([last for _, last in ends], axis=0) + GRID_MARGIN_MM
    i, j, k = (max(1, int(np.ceil(length / spacing_mm))) for length in high - low)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (low + high) / 2 - (np.array([i, j, k]) - 1) / 2 * spacing_mm
    return affine, (i, j, k)


def remove_relative_bias(
    a: Tensor, b: Tensor, inside: Tensor, spacing_mm: float, rounds: int = BIAS_ROUNDS
) -> tuple[Tensor, Tensor]:
    """Remove the smooth ratio of the two scans, half from each; computed on a coarse grid, since it is smooth.

    What differs by much more than the ratio is a lesion and has no part in it. `rounds` is how often it is left out
    and the ratio is measured again; with 0 a lesion counts like everything else.
    """
    import torch.nn.functional as functional

    step = max(1, round(BIAS_FIELD_SD_MM / BIAS_CELLS_PER_SD / spacing_mm))
    sigma = BIAS_FIELD_SD_MM / spacing_mm / step
    mask = inside.float()[None, None]
    levels = [functional.avg_pool3d(scan[None, None] * mask, step, ceil_mode=True) for scan in (a, b)]
    share = functional.avg_pool3d(mask, step, ceil_mode=True)
    known = smooth_images(share, sigma) > 0.05
    root = _measure_root_of_ratio(levels, torch.ones_like(share), known, sigma)
    for _ in range(rounds if (share > 0.5).any() else 0):
        left = (levels[1] / root - levels[0] * root) / share.clamp(min=0.1)
        spread = 1.4826 * left[share > 0.5].abs().median().clamp(min=1e-6)
        weight = (1 - (left / (OUTLIER_SPREADS * spread)) ** 2).clamp(min=0) ** 2
        root = _measure_root_of_ratio(levels, weight.clamp(min=OUTLIER_WEIGHT), known, sigma)
    root = functional.interpolate(root, size=a.shape, mode="trilinear", align_corners=False)[0, 0]
    return a * root, b / root


def _measure_root_of_ratio(levels: Sequence[Tensor], weight: Tensor, known: Tensor, sigma: float) -> Tensor:
    """The square root of the smooth ratio of two images (1, 1, i, j, k) of cells, and 1 where it is not known."""
    first, second = (smooth_images(level * weight, sigma).clamp(min=1e-4) for level in levels)
    return torch.where(known, (second / first).clamp(0.5, 2.0), torch.ones_like(first)).sqrt()


def equalise_histograms(a: Tensor, b: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Map both scans by monotone functions to the histogram midway between those that they have in the body.

    So neither scan decides. Source: Delon, Midway image equalization, Journal of Mathematical Imaging and Vision 2004.
    """
    levels = torch.linspace(0, 1, MATCHING_QUANTILES)
    known = [values[:: max(1, values.numel() // 100_000)] for values in (a[inside], b[inside])]
    if known[0].numel() < MATCHING_QUANTILES:
        return a, b
    sources = [torch.quantile(values, levels).numpy() for values in known]
    middle = (sources[0] + sources[1]) / 2
    matched = a.clone(), b.clone()
    for scan, source in zip(matched, sources, strict=True):
        rising = source + np.arange(MATCHING_QUANTILES) * 1e-7  # strictly, or the map is not unique
        scan[inside] = torch.from_numpy(np.interp(scan[inside].numpy(), rising, middle).astype(np.float32))
    return matched
