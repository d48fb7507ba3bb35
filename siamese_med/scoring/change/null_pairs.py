"""Pairs without change, for the noise floor: the study's own rescans, and scans taken twice by simulated machines.

Both are kept apart by contrast and by same or other scanner (`floor.Stratum`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import NotEnoughDataError
from siamese_med.imaging import registration, volume
from siamese_med.imaging.volume import Volume
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change import (
    boundary_shift,
    change_map,
    detectability,
    noise_floor,
    pair_registration,
    score_pair,
)
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import (
    OTHER_SCANNER,
    SAME_SCANNER,
    NoChangeReference,
    NoiseFloor,
    NoiseStratum,
)
from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace, RegisteredPair
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.change.score_pair import PairScan
from siamese_med.simulation import rescan
from siamese_med.study.config import ScoreConfig
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.thresholds import MIN_REAL_RESCANS
from siamese_med.study.vocabulary import NullSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_REAL_RESCANS = 60
REAL_EXTRA_LOG_SD = 0.05
"""What a study's few real rescans do not happen to show, as a standard deviation of log figures."""
SYNTHETIC_EXTRA_LOG_SD, SYNTHETIC_GROWTH_EXTRA_LOG_SD = 0.1, 0.25
"""Simulated rescans are more alike than real ones: log figures of real ones spread and lie off by so much more."""
GROWTH = "growth"
"""The name of local volume change, which is measured beside every detector."""
PLANTED_PAIRS_PER_STRATUM = 8
"""Pairs of a stratum on which detectors are tried with a change too."""
NOISE_FRACTION_RANGE = (0.5, 1.0)
"""A rescan's noise as a share of the source's as it is measured, which is too high: fine anatomy counts too."""


@dataclass(frozen=True)
class NullPairJob:
    """Two scans of a stratum without change between them; without `later` both are simulated from `earlier`.

    planted: whether the detectors are tried on the same pair with a change in it too.
    """

    reader: ScanReader
    stratum: NoiseStratum
    earlier: PreparedScan
    later: PreparedScan | None
    seed: int
    detectors: Mapping[str, ChangeDetector]
    planted: bool
    config: ScoreConfig


@dataclass(frozen=True)
class DetectorTrials:
    """What detectors and GROWTH gave on pairs without change, and how well detectors told planted changes apart.

    auc: share of (changed, unchanged) pairs in which the changed one has the higher z; of `n` changed ones.
    z: by detector (pairs, 2), of each pair without and with a change, NaN where none was planted; `scans`: of which
    scan each pair starts.
    """

    floors: dict[str, NoiseFloor]
    auc: dict[str, float]
    n: int
    z: dict[str, NDArray[np.float64]]
    scans: tuple[str, ...]


def measure_null_pairs(
    rescans: Sequence[tuple[PreparedScan, PreparedScan]],
    scans: Sequence[PreparedScan],
    reader: ScanReader,
    detectors: Mapping[str, ChangeDetector],
    config: ScoreConfig,
    seed: int,
) -> DetectorTrials:
    """The noise floors: of real rescans where a stratum has enough of them, else of simulated ones of `scans`.

    The first of the scans are simulated from.
    """
    if not scans:
        raise NotEnoughDataError("no scan to take a no-change reference from: too few scans could be aligned")
    chosen = dict(_strata(rescans, scans, config.simulated_rescans))
    jobs = [
        NullPairJob(reader, where, *pair, seed + number, detectors, number < PLANTED_PAIRS_PER_STRATUM, config)
        for where, pairs in chosen.items()
        for number, pair in enumerate(pairs)
    ]
    found = list(zip(jobs, run_in_parallel(_measure_job, jobs, "measuring pairs without change"), strict=True))
    floors = {name: _floor(name, [(job, quiet[name]) for job, (quiet, _) in found]) for name in (*detectors, GROWTH)}
    z = {
        name: _z(floors[name], [(job, quiet[name], changed.get(name)) for job, (quiet, changed) in found])
        for name in detectors
    }
    auc = {name: _auc(values) for name, values in z.items()}
    return DetectorTrials(floors, auc, sum(job.planted for job in jobs), z, tuple(job.earlier.id for job in jobs))


def measure_real_pairs(
    pairs: Sequence[tuple[PreparedScan, PreparedScan]],
    reader: ScanReader,
    detectors: Mapping[str, ChangeDetector],
    config: ScoreConfig,
) -> list[tuple[NoiseStratum, dict[str, MapSummary]]]:
    """What the detectors and GROWTH find in real pairs, and the stratum of each."""
    jobs = [
        NullPairJob(reader, score_pair.find_pair_stratum(*pair), *pair, 0, detectors, False, config) for pair in pairs
    ]
    found = run_in_parallel(_measure_job, jobs, "measuring labelled pairs")
    return [(job.stratum, findings) for job, (findings, _) in zip(jobs, found, strict=True)]


def _floor(name: str, found: Sequence[tuple[NullPairJob, MapSummary]]) -> NoiseFloor:
    strata: dict[NoiseStratum, list[MapSummary]] = defaultdict(list)
    real = {job.stratum for job, _ in found if job.later}
    for job, finding in found:
        strata[job.stratum].append(finding)
    return NoiseFloor(
        {
            where: noise_floor.build_no_change_reference(findings, str(NullSource.RESCANS), REAL_EXTRA_LOG_SD)
            if where in real
            else build_synthetic_reference(name, findings)
            for where, findings in strata.items()
        }
    )


def build_synthetic_reference(name: str, findings: Sequence[MapSummary]) -> NoChangeReference:
    """The reference of simulated rescans for a detector, or for GROWTH, by its name."""
    return noise_floor.build_no_change_reference(
        findings,
        str(NullSource.SYNTHESISED),
        SYNTHETIC_GROWTH_EXTRA_LOG_SD if name == GROWTH else SYNTHETIC_EXTRA_LOG_SD,
    )


def _z(known: NoiseFloor, found: Sequence[tuple[NullPairJob, MapSummary, MapSummary | None]]) -> NDArray[np.float64]:
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
) -> Iterator[tuple[NoiseStratum, list[tuple[PreparedScan, PreparedScan | None]]]]:
    """Every kind of scan with same and with other scanner, and the pairs to measure there."""
    for kind in dict.fromkeys((scan.modality, scan.contrast) for scan in scans):
        alike = [scan for scan in scans if (scan.modality, scan.contrast) == kind]
        for scanner in (SAME_SCANNER, OTHER_SCANNER):
            where = NoiseStratum(" ".join(kind), scanner)
            real = [pair for pair in rescans if score_pair.find_pair_stratum(*pair) == where]
            if len(real) >= MIN_REAL_RESCANS:
                yield where, list(real[:MAX_REAL_RESCANS])
            else:
                yield where, [(alike[number % len(alike)], None) for number in range(simulated)]


def _measure_job(pair: NullPairJob) -> tuple[dict[str, MapSummary], dict[str, MapSummary]]:
    """What each detector finds, and what it finds with a change planted."""
    space = pair.reader.pair_space(pair.config.spacing_mm)
    earlier = pair.reader.read_side(pair.earlier)
    if pair.later:
        later = pair.reader.read_side(pair.later)
    else:
        earlier, later = _simulate_pair(earlier, pair)
    laid = pair_registration.register_pair(earlier.scan, later.scan, (earlier.matrix, later.matrix), space)
    if not pair.planted:
        return _findings(laid, pair, space), {}
    changed = detectability.plant_change(laid, space.spacing_mm, np.random.default_rng(pair.seed))
    return _findings(laid, pair, space), _figures(changed, pair, space)


def _findings(laid: RegisteredPair, pair: NullPairJob, space: PairSpace) -> dict[str, MapSummary]:
    grown = boundary_shift.summarise_boundary_shift(
        boundary_shift.measure_boundary_shift(laid, space.spacing_mm), laid, space
    )
    return {**_figures(laid, pair, space), GROWTH: grown}


def _figures(laid: RegisteredPair, pair: NullPairJob, space: PairSpace) -> dict[str, MapSummary]:
    maps = {name: detector(laid, space.spacing_mm) for name, detector in pair.detectors.items()}
    return {name: change_map.summarise_map(one, laid, space) for name, one in maps.items()}


def _simulate_pair(source: PairScan, pair: NullPairJob) -> tuple[PairScan, PairScan]:
    scans = simulate_scan_pair(source.scan, pair.stratum.scanner == SAME_SCANNER, np.random.default_rng(pair.seed))
    found = registration.register_scans(scans, volume.read_volume(pair.reader.template))
    earlier, later = (replace(source, scan=scan, matrix=one.matrix) for scan, one in zip(scans, found, strict=True))
    return earlier, later


def simulate_scan_pair(scan: Volume, same_machine: bool, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """The same body scanned twice (`phantom.rescan`), by one machine or by two; in the scan's mm but for the pose."""
    body = rescan.extract_body(scan)
    machines = rescan.draw_rescan_scanners(body.spacing_mm, rng)
    first, second = rng.choice(len(machines), 2, replace=False)
    protocols = [
        (
            replace(machines[number], noise=body.noise * rng.uniform(*NOISE_FRACTION_RANGE)),
            rescan.draw_contrast_levels(rng),
        )
        for number in (first, second)
    ]
    one, two = (
        rescan.acquire_rescan(body, machine, rng, contrast=contrast).volume
        for machine, contrast in (protocols[0], protocols[0 if same_machine else 1])
    )
    return one, two
