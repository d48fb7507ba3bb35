"""Pairs without change, for the noise floor: the study's own rescans, and scans taken twice by simulated machines.

Both are kept apart by contrast and by same or other scanner (`floor.Stratum`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from siamese_med import alignment, volume
from siamese_med.config import ScoreConfig
from siamese_med.errors import NotEnoughDataError
from siamese_med.parallel import in_parallel
from siamese_med.phantom import rescan
from siamese_med.scoring import comparison, floor
from siamese_med.scoring.change import Finding
from siamese_med.scoring.comparison import Side
from siamese_med.scoring.floor import OTHER, SAME, Floor, Stratum
from siamese_med.scoring.overlay import Detector
from siamese_med.scoring.table import ScanRow, side, space_on
from siamese_med.volume import Volume

ENOUGH_RESCANS = 8
"""With fewer real rescans than this a stratum's reference comes from simulated ones."""
MOST_RESCANS = 60
SIMULATED_RESCANS = 24
NOISE_SHARES = (0.5, 1.0)
"""A rescan's noise as a share of the source's as it is measured, which is too high: fine anatomy counts too."""


@dataclass(frozen=True)
class Rescan:
    """Two scans of a stratum without change between them; without `later` both are simulated from `earlier`."""

    data: Path
    template: Path
    stratum: Stratum
    earlier: ScanRow
    later: ScanRow | None
    seed: int
    detector: Detector
    config: ScoreConfig


def measured(
    rescans: Sequence[tuple[ScanRow, ScanRow]],
    scans: Sequence[ScanRow],
    place: tuple[Path, Path],
    detector: Detector,
    config: ScoreConfig,
    seed: int,
) -> Floor:
    """The noise floor of a detector: real rescans where a stratum has enough of them, else simulated ones of `scans`.

    `place`: data folder and template. The first of the scans are simulated from.
    """
    if not scans:
        raise NotEnoughDataError("no scan to take a no-change reference from: too few scans could be aligned")
    chosen = {where: list(pairs) for where, pairs in _strata(rescans, scans)}
    jobs = [
        Rescan(*place, where, *pair, seed + number, detector, config)
        for where, pairs in chosen.items()
        for number, pair in enumerate(pairs)
    ]
    findings: dict[Stratum, list[Finding]] = {where: [] for where in chosen}
    for job, finding in zip(jobs, in_parallel(_find, jobs, "measuring pairs without change"), strict=True):
        findings[job.stratum].append(finding)
    return Floor(
        {
            where: floor.reference(found, "rescans" if chosen[where][0][1] else "synthesised")
            for where, found in findings.items()
        }
    )


def _strata(
    rescans: Sequence[tuple[ScanRow, ScanRow]], scans: Sequence[ScanRow]
) -> Iterator[tuple[Stratum, list[tuple[ScanRow, ScanRow | None]]]]:
    """Every kind of scan with same and with other scanner, and the pairs to measure there."""
    for kind in dict.fromkeys((scan.modality, scan.contrast) for scan in scans):
        alike = [scan for scan in scans if (scan.modality, scan.contrast) == kind]
        for scanner in (SAME, OTHER):
            where = Stratum(" ".join(kind), scanner)
            real = [pair for pair in rescans if comparison.stratum(*pair) == where]
            if len(real) >= ENOUGH_RESCANS:
                yield where, list(real[:MOST_RESCANS])
            else:
                yield where, [(alike[number % len(alike)], None) for number in range(SIMULATED_RESCANS)]


def _find(pair: Rescan) -> Finding:
    space = space_on(pair.template, pair.config.spacing_mm)
    earlier = side(pair.data, pair.earlier)
    if pair.later:
        later = side(pair.data, pair.later)
    else:
        earlier, later = _taken_twice(earlier, pair)
    return comparison.measured(earlier, later, space, pair.detector).finding


def _taken_twice(source: Side, pair: Rescan) -> tuple[Side, Side]:
    scans = simulated(source.scan, pair.stratum.scanner == SAME, np.random.default_rng(pair.seed))
    found = alignment.align(scans, volume.read(pair.template))
    earlier, later = (replace(source, scan=scan, matrix=one.matrix) for scan, one in zip(scans, found, strict=True))
    return earlier, later


def simulated(scan: Volume, same_machine: bool, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """The same body scanned twice (`phantom.rescan`), by one machine or by two; in the scan's mm but for the pose."""
    body = rescan.body(scan)
    machines = rescan.fleet(body.spacing_mm, rng)
    first, second = rng.choice(len(machines), 2, replace=False)
    protocols = [
        (replace(machines[number], noise=body.noise * rng.uniform(*NOISE_SHARES)), rescan.contrast_levels(rng))
        for number in (first, second)
    ]
    one, two = (
        rescan.acquire(body, machine, rng, contrast=contrast).volume
        for machine, contrast in (protocols[0], protocols[0 if same_machine else 1])
    )
    return one, two
