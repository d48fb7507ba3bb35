"""The smallest detectable change of a pair: changes of known volume are planted in it, and its detector runs again.

To save time, tiles are cut from the pair at places of bright tissue and joined to a small pair of their own, a mosaic.
In the middle of each tile a ball is added to the later scan, brighter or darker, and the detector runs on the mosaic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging.resampling import smooth_along_axes, smooth_images
from siamese_med.scoring.change.pair_registration import ChangeDetector, RegisteredPair
from siamese_med.study.thresholds import DETECTION_POWER, LARGEST_TESTED_ML, PLANTED_CONTRAST

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_TISSUE_INTENSITY = 0.5
"""Changes are planted where both scans are brighter than this. Unit: median of bright tissue. Source: our choice."""
TESTED_VOLUMES_ML = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, LARGEST_TESTED_ML)
"""Volumes of the balls planted in a mosaic."""
FIRST_TESTED_ML = 0.5
"""The volume that is tried first. Then smaller ones are tried until one is not seen at all, and larger ones until one
is seen for certain. Source: our choice, about what real pairs show."""
NOT_SEEN_P = 0.1
"""With a p over this no smaller volume is tried: it is not seen at any significance level. Source: our choice."""
MATCHING_LOSS_SD_MM = 10.0
"""What matching the brightness of a pair takes of a change is about what a Gaussian of this width holds of it.

Unit: mm, standard deviation. Source: `benchmarks.matched_intensities`: .97, .85 and .36 are left of .5, 3 and 25 ml."""
PLANTED_RANGE_ML = (0.06, 1.0)
"""Volumes of the single changes on which detectors are selected; drawn uniformly in the logarithm."""
MOSAIC_TILES = (3, 2, 2)
"""Tiles along i, j and k of the mosaic."""
TILE_EDGE_MM, TILE_MARGIN_MM = 48.0, 6.0
"""Edge of a tile, and the margin on every side that is ignored, because the neighbouring tile affects it."""
EARLY_STOP_P = 1e-4
"""With a p below this no larger volume is tried: it passes the correction for any number of pairs in practice.

Under a limit that is smaller still no volume counts as seen, so no pair is called unchanged: the safe side.
"""


@dataclass(frozen=True)
class TileMosaic:
    """Tiles of a pair, joined to a pair. A tile's edge is `step` voxels; `margin` voxels on each side are ignored."""

    pair: RegisteredPair
    step: int
    margin: int

    def tiles(self, volume: Tensor) -> Tensor:
        """Return the middles of the tiles (n, i, j, k) of a volume (i, j, k) on the grid of the mosaic."""
        inner = slice(self.margin, self.step - self.margin)
        starts = product(*(range(0, count * self.step, self.step) for count in MOSAIC_TILES))
        parts = [volume[i : i + self.step, j : j + self.step, k : k + self.step] for i, j, k in starts]
        return torch.stack([part[inner, inner, inner] for part in parts])


def measure_detection_curve(
    pair: RegisteredPair,
    detector: ChangeDetector,
    spacing_mm: float,
    softness_mm: Sequence[float],
    p: Callable[[Tensor, Tensor], Sequence[float]],
) -> list[tuple[float, float]]:
    """Measure the p that planted changes of growing volume reach in DETECTION_POWER (80 %) of the tiles.

    Parameters
    ----------
    pair
        The registered pair.
    detector
        The detector of the model.
    spacing_mm
        Voxel edge of the pair.
    softness_mm
        Blur of the later scan (3,) along i, j and k, as standard deviations, see `compute_blur_sd_mm`.
    p
        From the evidence in the tiles (n, i, j, k) without and with the change to the p of each tile (n,).

    Returns
    -------
    list[tuple[float, float]]
        Volume in ml and p, by volume, from the last p above NOT_SEEN_P to the first one below EARLY_STOP_P, as far as
        these are reached. Empty if the pair has no bright tissue.
    """
    mosaic = _mosaic(pair, spacing_mm)
    if mosaic is None:
        return []
    before = mosaic.tiles(detector(mosaic.pair, spacing_mm))

    def reach(volume_ml: float) -> float:
        ball = _ball(volume_ml, mosaic.step, spacing_mm, softness_mm)
        after = mosaic.tiles(detector(_plant_in_mosaic(mosaic, ball), spacing_mm))
        return float(np.quantile(p(before, after), DETECTION_POWER, method="higher"))

    return _try_volumes(reach)


def _try_volumes(reach: Callable[[float], float]) -> list[tuple[float, float]]:
    """Try volumes from FIRST_TESTED_ML on, down and up, as far as they matter; `reach` gives the p of a volume."""
    first = TESTED_VOLUMES_ML.index(FIRST_TESTED_ML)
    found = {FIRST_TESTED_ML: reach(FIRST_TESTED_ML)}
    for smaller, larger in zip(
        reversed(TESTED_VOLUMES_ML[:first]), reversed(TESTED_VOLUMES_ML[: first + 1]), strict=False
    ):
        if found[larger] > NOT_SEEN_P:
            break
        found[smaller] = reach(smaller)
    for smaller, larger in pairwise(TESTED_VOLUMES_ML[first:]):
        if found[smaller] < EARLY_STOP_P:
            break
        found[larger] = reach(larger)
    return sorted(found.items())


def plant_change(pair: RegisteredPair, spacing_mm: float, rng: np.random.Generator) -> RegisteredPair:
    """Plant one change in a pair: a ball at a random place of bright tissue, brighter or darker in the later scan.

    Parameters
    ----------
    pair
        The registered pair; only `b` differs in the result. It is returned as it is if it has no bright tissue.
    spacing_mm
        Voxel edge of the pair.
    rng
        Source of the place, the volume (PLANTED_RANGE_ML) and the sign.
    """
    places = (pair.inside & (torch.minimum(pair.a, pair.b) > MIN_TISSUE_INTENSITY)).nonzero().numpy()
    if not len(places):
        return pair
    volume_ml = math.exp(rng.uniform(*np.log(PLANTED_RANGE_ML)))
    ball = _ball(volume_ml, 2 * round(TILE_EDGE_MM / spacing_mm / 2), spacing_mm, [spacing_mm / 2] * 3)
    later, half = pair.b.clone(), len(ball) // 2
    corner = places[rng.integers(len(places))] - half
    box = [slice(max(low, 0), min(low + len(ball), n)) for low, n in zip(corner, later.shape, strict=True)]
    part = ball[tuple(slice(one.start - low, one.stop - low) for one, low in zip(box, corner, strict=True))]
    later[tuple(box)] += part * float(rng.choice([-1, 1]))
    return replace(pair, b=later.clamp(min=0) * (pair.b > 0))


def find_smallest_detectable_ml(seen: Sequence[tuple[float, float]], significance: float) -> float | None:
    """Find the smallest volume whose p is below `significance`, by interpolation of log p over log volume.

    Parameters
    ----------
    seen
        Volumes in ml with their p, by volume, see `measure_detection_curve`.
    significance
        Limit of p, already adjusted for the number of pairs that end with the same visit.

    Returns
    -------
    float or None
        Volume in ml; None if no volume reaches the limit.

    Examples
    --------
    >>> find_smallest_detectable_ml([(0.25, 0.5), (1.0, 0.005)], 0.05)
    0.5
    >>> find_smallest_detectable_ml([(0.25, 0.5)], 0.05) is None
    True
    """
    earlier: tuple[float, float] | None = None
    for volume_ml, p in seen:
        if p < significance:
            if earlier is None:
                return volume_ml
            logs = [math.log(max(value, 1e-12)) for value in (earlier[1], significance, p)]
            share = (logs[0] - logs[1]) / (logs[0] - logs[2])
            return round(float(earlier[0] * (volume_ml / earlier[0]) ** share), 4)
        earlier = (volume_ml, p)
    return None


def compute_blur_sd_mm(scan_affine: NDArray[np.float64], to_scan: NDArray[np.float64]) -> list[float]:
    """Compute the blur by the voxels of a scan along the axes of the pair grid, as standard deviations (3,) in mm.

    A voxel averages over a box; a box with edge d has the standard deviation d / sqrt(12).

    Parameters
    ----------
    scan_affine
        4x4, voxel indices of the scan to its RAS+ mm.
    to_scan
        4x4, pair mm to scan mm.

    Examples
    --------
    >>> thick_slices = np.diag([1.0, 1.0, 6.0, 1.0])
    >>> [round(sd, 2) for sd in compute_blur_sd_mm(thick_slices, np.eye(4))]
    [0.29, 0.29, 1.73]
    """
    edges = np.linalg.inv(to_scan[:3, :3]) @ scan_affine[:3, :3]
    return [float(value) for value in np.sqrt((edges**2).sum(1) / 12)]


def _mosaic(pair: RegisteredPair, spacing_mm: float) -> TileMosaic | None:
    """Cut and join tiles around places of bright tissue; the same for the same pair. None if there is no such place."""
    step = min(2 * round(TILE_EDGE_MM / spacing_mm / 2), *pair.inside.shape)
    half, margin = step // 2, round(TILE_MARGIN_MM / spacing_mm)
    bright = pair.inside & (torch.minimum(pair.a, pair.b) > MIN_TISSUE_INTENSITY)
    low = [half] * 3
    high = [n - (step - half) + 1 for n in bright.shape]
    places = bright[tuple(slice(*ends) for ends in zip(low, high, strict=True))].nonzero().numpy()
    if not len(places):
        return None
    count = math.prod(MOSAIC_TILES)
    drawn = places[np.random.default_rng(0).choice(len(places), count, replace=len(places) < count)]
    earlier, later, a, b, inside = (
        _arrange_tiles(volume, drawn, step) for volume in (pair.earlier, pair.later, pair.a, pair.b, pair.inside)
    )
    return TileMosaic(replace(pair, earlier=earlier, later=later, a=a, b=b, inside=inside), step, margin)


def _arrange_tiles(volume: Tensor, corners: NDArray[np.intp], step: int) -> Tensor:
    tiles = [volume[i : i + step, j : j + step, k : k + step] for i, j, k in corners.tolist()]
    rows = [torch.cat(tiles[n : n + MOSAIC_TILES[2]], 2) for n in range(0, len(tiles), MOSAIC_TILES[2])]
    slabs = [torch.cat(rows[n : n + MOSAIC_TILES[1]], 1) for n in range(0, len(rows), MOSAIC_TILES[1])]
    return torch.cat(slabs, 0)


def _ball(volume_ml: float, step: int, spacing_mm: float, softness_mm: Sequence[float]) -> Tensor:
    """A ball of PLANTED_CONTRAST in the middle of a tile, blurred like the scan, less the part that matching would
    remove."""
    radius = (3 * volume_ml / (4 * math.pi)) ** (1 / 3) * 10 / spacing_mm
    axis = torch.arange(step) - float(step // 2)
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    ball = (radius + 0.5 - distance).clamp(0, 1)[None, None]
    ball = ball * (volume_ml * 1000 / spacing_mm**3 / ball.sum())
    soft = smooth_along_axes(ball, [sigma / spacing_mm for sigma in softness_mm])
    return PLANTED_CONTRAST * (soft - smooth_images(soft, MATCHING_LOSS_SD_MM / spacing_mm))[0, 0]


def _plant_in_mosaic(mosaic: TileMosaic, ball: Tensor) -> RegisteredPair:
    """Add the ball to the later scan in every tile of the mosaic, brighter and darker in turn."""
    i, j, k = MOSAIC_TILES
    signs = torch.ones(i * j * k)
    signs[1::2] = -1
    balls = torch.kron(signs.reshape(MOSAIC_TILES), ball)
    return replace(mosaic.pair, b=(mosaic.pair.b + balls).clamp(min=0) * (mosaic.pair.b > 0))
