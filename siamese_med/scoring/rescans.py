"""Pairs without change, for the reference: the study's own rescans, or a scan against a simulated rescan of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from siamese_med import alignment, volume
from siamese_med.config import ScoreConfig
from siamese_med.errors import NotEnoughDataError
from siamese_med.parallel import in_parallel
from siamese_med.phantom import rescan
from siamese_med.scoring import change, comparison
from siamese_med.scoring.change import Finding, Reference
from siamese_med.scoring.table import ScanRow, side, space_on
from siamese_med.volume import Volume

ENOUGH_RESCANS = 8
"""With fewer real rescans than this the reference comes from simulated ones."""
SIMULATED_RESCANS = 24
NOISE_SHARES = (0.5, 1.0)
"""A rescan's noise as a share of the source's as it is measured, which is too high: fine anatomy counts too."""


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


def _find(pair: Rescan) -> Finding:
    space = space_on(pair.template, pair.config.spacing_mm)
    earlier = side(pair.data, pair.earlier)
    if pair.later:
        later = side(pair.data, pair.later)
    else:
        again = simulated(earlier.scan, np.random.default_rng(pair.seed))
        found = alignment.align([again], volume.read(pair.template))[0]
        later = replace(earlier, scan=again, matrix=found.matrix)
    return comparison.measured(earlier, later, space, pair.config).finding


def simulated(scan: Volume, rng: np.random.Generator) -> Volume:
    """The same body scanned again by another machine (`phantom.rescan`), in the scan's mm but for a small pose."""
    body = rescan.body(scan)
    machines = rescan.fleet(body.spacing_mm, rng)
    machine = machines[rng.integers(len(machines))]
    return rescan.acquire(body, replace(machine, noise=body.noise * rng.uniform(*NOISE_SHARES)), rng).volume
