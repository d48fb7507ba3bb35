"""Pairs without change, for the reference: the study's own rescans, or a scan against a simulated rescan of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from siamese_med import alignment, volume
from siamese_med.alignment import smooth
from siamese_med.config import ScoreConfig
from siamese_med.errors import NotEnoughDataError
from siamese_med.parallel import in_parallel
from siamese_med.scoring import change, comparison
from siamese_med.scoring.change import Finding, Reference
from siamese_med.scoring.table import ScanRow, side, space_on
from siamese_med.volume import Volume

ENOUGH_RESCANS = 8
"""With fewer real rescans than this the reference comes from simulated ones."""
SIMULATED_RESCANS = 24
POSE_DEGREES = 2.0
POSE_MM = 2.0


@dataclass(frozen=True)
class Rescan:
    """Two scans without change between them; without `later` it is simulated from `earlier`."""

    data: Path
    template: Path
    earlier: ScanRow
    later: ScanRow | None
    seed: int
    config: ScoreConfig


def reference(
    rescans: Sequence[tuple[ScanRow, ScanRow]],
    scans: Sequence[ScanRow],
    data: Path,
    template: Path,
    config: ScoreConfig,
    seed: int,
) -> Reference:
    """What no change looks like, from real rescans where there are enough, else from simulated rescans of `scans`."""
    if not scans:
        raise NotEnoughDataError("no scan to take a no-change reference from: too few scans could be aligned")
    pairs: list[tuple[ScanRow, ScanRow | None]] = list(rescans)
    source = "rescans"
    if len(pairs) < ENOUGH_RESCANS:
        source = "synthesised"
        pairs = [(scans[number % len(scans)], None) for number in range(SIMULATED_RESCANS)]
    jobs = [Rescan(data, template, *pair, seed=seed + number, config=config) for number, pair in enumerate(pairs)]
    return change.reference(list(in_parallel(_find, jobs, "measuring pairs without change")), source)


def _find(rescan: Rescan) -> Finding:
    space = space_on(rescan.template, rescan.config.spacing_mm)
    earlier = side(rescan.data, rescan.earlier)
    if rescan.later:
        later = side(rescan.data, rescan.later)
    else:
        again = simulated(earlier.scan, np.random.default_rng(rescan.seed))
        found = alignment.align([again], volume.read(rescan.template))[0]
        later = replace(earlier, scan=again, matrix=found.matrix)
    return comparison.measured(earlier, later, space, rescan.config)[1]


def simulated(scan: Volume, rng: np.random.Generator) -> Volume:
    """The same body scanned again: other pose, slice blur, bias field, contrast curve and noise; no anatomy is changed.

    The pose goes into the affine alone, so the pair's own alignment has to find it, as it has to for a real rescan.
    """
    voxels = torch.from_numpy(np.asarray(scan.voxels, dtype=np.float32))
    low, high = torch.quantile(voxels.flatten()[:: max(1, voxels.numel() // 200_000)], torch.tensor([0.01, 0.99]))
    unit = ((voxels - low) / (high - low).clamp(min=1e-6)).clamp(min=0)
    unit = smooth(unit[None, None], float(rng.uniform(0, 0.6)))[0, 0]
    knots = torch.from_numpy((0.12 * rng.standard_normal((1, 1, 4, 4, 4))).astype(np.float32))
    field = torch.nn.functional.interpolate(knots, size=voxels.shape, mode="trilinear", align_corners=True)[0, 0]
    unit = (unit * field.exp()) ** math.exp(0.1 * rng.standard_normal())
    noise = 0.03 * rng.uniform(0.5, 1.5) * torch.from_numpy(rng.standard_normal((2, *voxels.shape)).astype(np.float32))
    again = ((unit + noise[0]).square() + noise[1].square()).sqrt() * (high - low) + low
    return Volume(again.numpy(), _pose(rng) @ scan.affine)


def _pose(rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(POSE_DEGREES) * rng.standard_normal(3)).as_matrix()
    matrix[:3, 3] = POSE_MM * rng.standard_normal(3)
    return matrix
