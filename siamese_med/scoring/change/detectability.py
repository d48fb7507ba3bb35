"""How small a change of this very pair would have been seen: changes are planted in it, and its detector looks again.

Tiles cut from the pair at places of bright tissue are laid side by side into a small pair of their own, a mosaic; in
the middle of each tile a ball of the later scan is made brighter or darker, and the detector runs on the mosaic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging.resampling import smooth_along_axes, smooth_images
from siamese_med.scoring.change.pair_registration import BIAS_FIELD_SD_MM, ChangeDetector, RegisteredPair
from siamese_med.study.thresholds import DETECTION_POWER, PLANTED_CONTRAST

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_TISSUE_INTENSITY = 0.5
"""Places are drawn where both scans are brighter than this."""
TESTED_VOLUMES_ML = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
PLANTED_RANGE_ML = (0.06, 1.0)
MOSAIC_TILES = (3, 2, 2)
"""Tiles along i, j and k of the mosaic."""
TILE_EDGE_MM, TILE_MARGIN_MM = 48.0, 6.0
"""Edge of a tile, and how much of it on every side is left out of account: there the next tile shows."""
EARLY_STOP_P = 1e-4
"""With a p below this even many looks at one patient leave nothing to ask of larger changes."""


@dataclass(frozen=True)
class TileMosaic:
    """Tiles of a pair as a pair; `step` voxels from one tile to the next, `margin` voxels of each left out."""

    pair: RegisteredPair
    step: int
    margin: int

    def tiles(self, volume: Tensor) -> Tensor:
        """The middles of the tiles (n, i, j, k) of a volume on the mosaic's grid, to be changed in place."""
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
    """Volumes in ml and the p that 80 % of the places undercut when so much changes there, up to a clear one.

    `softness_mm` (3,): how blurred the later scan is along i, j, k (standard deviations). `p` takes the evidence at the
    places (n, i, j, k) without and with the change. Empty where the pair shows no bright tissue to plant a change in.
    """
    mosaic = _mosaic(pair, spacing_mm)
    if mosaic is None:
        return []
    before = mosaic.tiles(detector(mosaic.pair, spacing_mm))
    found: list[tuple[float, float]] = []
    for volume_ml in TESTED_VOLUMES_ML:
        ball = _ball(volume_ml, mosaic.step, spacing_mm, softness_mm)
        after = mosaic.tiles(detector(_plant_in_mosaic(mosaic, ball), spacing_mm))
        found.append((volume_ml, float(np.quantile(p(before, after), DETECTION_POWER, method="higher"))))
        if found[-1][1] < EARLY_STOP_P:
            break
    return found


def plant_change(pair: RegisteredPair, spacing_mm: float, rng: np.random.Generator) -> RegisteredPair:
    """The pair with one place of bright tissue made brighter or darker in the later scan: a change of known truth."""
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
    """The smallest volume whose p is below `significance`, interpolated in logarithms; None where none is."""
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
    """Standard deviations (3,) along the pair's axes of a scan's box-shaped voxels; `to_scan` 4x4, pair's mm to its."""
    edges = np.linalg.inv(to_scan[:3, :3]) @ scan_affine[:3, :3]
    return [float(value) for value in np.sqrt((edges**2).sum(1) / 12)]


def _mosaic(pair: RegisteredPair, spacing_mm: float) -> TileMosaic | None:
    """Tiles around places of bright tissue, the same for the same pair."""
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
    """A ball of PLANTED_CONTRAST amid a tile, blurred as the scan is, less what bias correction takes of it."""
    radius = (3 * volume_ml / (4 * math.pi)) ** (1 / 3) * 10 / spacing_mm
    axis = torch.arange(step) - float(step // 2)
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    ball = (radius + 0.5 - distance).clamp(0, 1)[None, None]
    ball = ball * (volume_ml * 1000 / spacing_mm**3 / ball.sum())
    soft = smooth_along_axes(ball, [sigma / spacing_mm for sigma in softness_mm])
    return PLANTED_CONTRAST * (soft - smooth_images(soft, BIAS_FIELD_SD_MM / spacing_mm))[0, 0]


def _plant_in_mosaic(mosaic: TileMosaic, ball: Tensor) -> RegisteredPair:
    """The mosaic with the ball in every tile of the later scan, brighter and darker in turn."""
    i, j, k = MOSAIC_TILES
    signs = torch.ones(i * j * k)
    signs[1::2] = -1
    balls = torch.kron(signs.reshape(MOSAIC_TILES), ball)
    return replace(mosaic.pair, b=(mosaic.pair.b + balls).clamp(min=0) * (mosaic.pair.b > 0))
