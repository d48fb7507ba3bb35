"""Pairs without change, for the noise floor: the study's own rescans, and scans taken twice by simulated machines.

Both are kept apart by contrast and by same or other scanner (`floor.Stratum`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med import alignment, volume
from siamese_med.config import ScoreConfig
from siamese_med.errors import NotEnoughDataError
from siamese_med.parallel import in_parallel
from siamese_med.phantom import rescan
from siamese_med.prepared import PreparedScan
from siamese_med.scoring import change, comparison, detectability, expansion, floor, overlay
from siamese_med.scoring.change import Finding
from siamese_med.scoring.comparison import Side
from siamese_med.scoring.floor import OTHER, SAME, Floor, Reference, Stratum
from siamese_med.scoring.overlay import Detector, Overlay, PairSpace
from siamese_med.scoring.table import side, space_on
from siamese_med.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENOUGH_RESCANS = 8
"""With fewer real rescans than this a stratum's reference comes from simulated ones."""
MOST_RESCANS = 60
FEW = 0.05
"""What a study's few real rescans do not happen to show, as a standard deviation of log figures."""
UNLIKE, GROWTH_UNLIKE = 0.1, 0.25
"""Simulated rescans are more alike than real ones: log figures of real ones spread and lie off by so much more."""
GROWTH = "growth"
"""The name of local volume change, which is measured beside every detector."""
PLANTED = 8
"""Pairs of a stratum on which detectors are tried with a change too."""
NOISE_SHARES = (0.5, 1.0)
"""A rescan's noise as a share of the source's as it is measured, which is too high: fine anatomy counts too."""


@dataclass(frozen=True)
class Rescan:
    """Two scans of a stratum without change between them; without `later` both are simulated from `earlier`.

    planted: whether the detectors are tried on the same pair with a change in it too.
    """

    data: Path
    template: Path
    stratum: Stratum
    earlier: PreparedScan
    later: PreparedScan | None
    seed: int
    detectors: Mapping[str, Detector]
    planted: bool
    config: ScoreConfig


@dataclass(frozen=True)
class Trials:
    """What detectors and GROWTH gave on pairs without change, and how well detectors told planted changes apart.

    auc: share of (changed, unchanged) pairs in which the changed one has the higher z; of `n` changed ones.
    z: by detector (pairs, 2), of each pair without and with a change, NaN where none was planted; `scans`: of which
    scan each pair starts.
    """

    floors: dict[str, Floor]
    auc: dict[str, float]
    n: int
    z: dict[str, NDArray[np.float64]]
    scans: tuple[str, ...]


def measured(
    rescans: Sequence[tuple[PreparedScan, PreparedScan]],
    scans: Sequence[PreparedScan],
    place: tuple[Path, Path],
    detectors: Mapping[str, Detector],
    config: ScoreConfig,
    seed: int,
) -> Trials:
    """The noise floors: of real rescans where a stratum has enough of them, else of simulated ones of `scans`.

    `place`: data folder and template. The first of the scans are simulated from.
    """
    if not scans:
        raise NotEnoughDataError("no scan to take a no-change reference from: too few scans could be aligned")
    chosen = dict(_strata(rescans, scans, config.simulated_rescans))
    jobs = [
        Rescan(*place, where, *pair, seed + number, detectors, number < PLANTED, config)
        for where, pairs in chosen.items()
        for number, pair in enumerate(pairs)
    ]
    found = list(zip(jobs, in_parallel(_find, jobs, "measuring pairs without change"), strict=True))
    floors = {name: _floor(name, [(job, quiet[name]) for job, (quiet, _) in found]) for name in (*detectors, GROWTH)}
    z = {
        name: _z(floors[name], [(job, quiet[name], changed.get(name)) for job, (quiet, changed) in found])
        for name in detectors
    }
    auc = {name: _auc(values) for name, values in z.items()}
    return Trials(floors, auc, sum(job.planted for job in jobs), z, tuple(job.earlier.id for job in jobs))


def figures(
    pairs: Sequence[tuple[PreparedScan, PreparedScan]],
    place: tuple[Path, Path],
    detectors: Mapping[str, Detector],
    config: ScoreConfig,
) -> list[tuple[Stratum, dict[str, Finding]]]:
    """What the detectors and GROWTH find in real pairs, and the stratum of each."""
    jobs = [Rescan(*place, comparison.stratum(*pair), *pair, 0, detectors, False, config) for pair in pairs]
    found = in_parallel(_find, jobs, "measuring labelled pairs")
    return [(job.stratum, findings) for job, (findings, _) in zip(jobs, found, strict=True)]


def _floor(name: str, found: Sequence[tuple[Rescan, Finding]]) -> Floor:
    strata: dict[Stratum, list[Finding]] = defaultdict(list)
    real = {job.stratum for job, _ in found if job.later}
    for job, finding in found:
        strata[job.stratum].append(finding)
    return Floor(
        {
            where: floor.reference(findings, "rescans", FEW) if where in real else synthesised(name, findings)
            for where, findings in strata.items()
        }
    )


def synthesised(name: str, findings: Sequence[Finding]) -> Reference:
    """The reference of simulated rescans for a detector, or for GROWTH, by its name."""
    return floor.reference(findings, "synthesised", GROWTH_UNLIKE if name == GROWTH else UNLIKE)


def _z(known: Floor, found: Sequence[tuple[Rescan, Finding, Finding | None]]) -> NDArray[np.float64]:
    references = [known.references[job.stratum] for job, _, _ in found]
    return np.array(
        [
            (one.z(quiet), one.z(changed) if changed else np.nan)
            for one, (_, quiet, changed) in zip(references, found, strict=True)
        ]
    )


def _auc(z: NDArray[np.float64]) -> float:
    quiet, changed = z[:, 0], z[~np.isnan(z[:, 1]), 1]
    above = (changed[:, None] > quiet).mean() + 0.5 * (changed[:, None] == quiet).mean()
    return round(float(above), 4)


def _strata(
    rescans: Sequence[tuple[PreparedScan, PreparedScan]], scans: Sequence[PreparedScan], simulated: int
) -> Iterator[tuple[Stratum, list[tuple[PreparedScan, PreparedScan | None]]]]:
    """Every kind of scan with same and with other scanner, and the pairs to measure there."""
    for kind in dict.fromkeys((scan.modality, scan.contrast) for scan in scans):
        alike = [scan for scan in scans if (scan.modality, scan.contrast) == kind]
        for scanner in (SAME, OTHER):
            where = Stratum(" ".join(kind), scanner)
            real = [pair for pair in rescans if comparison.stratum(*pair) == where]
            if len(real) >= ENOUGH_RESCANS:
                yield where, list(real[:MOST_RESCANS])
            else:
                yield where, [(alike[number % len(alike)], None) for number in range(simulated)]


def _find(pair: Rescan) -> tuple[dict[str, Finding], dict[str, Finding]]:
    """What each detector finds, and what it finds with a change planted."""
    space = space_on(pair.template, pair.config.spacing_mm)
    earlier = side(pair.data, pair.earlier)
    if pair.later:
        later = side(pair.data, pair.later)
    else:
        earlier, later = _taken_twice(earlier, pair)
    laid = overlay.lay(earlier.scan, later.scan, (earlier.matrix, later.matrix), space)
    if not pair.planted:
        return _findings(laid, pair, space), {}
    changed = detectability.planted(laid, space.spacing_mm, np.random.default_rng(pair.seed))
    return _findings(laid, pair, space), _figures(changed, pair, space)


def _findings(laid: Overlay, pair: Rescan, space: PairSpace) -> dict[str, Finding]:
    grown = expansion.find(expansion.measure(laid, space.spacing_mm), laid, space)
    return {**_figures(laid, pair, space), GROWTH: grown}


def _figures(laid: Overlay, pair: Rescan, space: PairSpace) -> dict[str, Finding]:
    maps = {name: detector(laid, space.spacing_mm) for name, detector in pair.detectors.items()}
    return {name: change.find(one, laid, space) for name, one in maps.items()}


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
