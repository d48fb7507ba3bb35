"""Unchanged pairs for the noise floor: real rescans of the study, and simulated rescans.

Simulated ones are made in `simulated_rescans`. Both kinds are grouped by contrast and by same or other scanner
(`noise_floor.NoiseStratum`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import NotEnoughDataError
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change import (
    boundary_shift,
    change_map,
    detectability,
    noise_floor,
    pair_measurement,
    pair_registration,
    simulated_rescans,
)
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import (
    OTHER_SCANNER,
    SAME_SCANNER,
    NoiseFloor,
    NoiseStratum,
)
from siamese_med.scoring.change.pair_registration import ChangeDetector, RegisteredPair
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.change.simulated_rescans import GROWTH
from siamese_med.simulation import rescan
from siamese_med.study.config import ScoreConfig
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.thresholds import MIN_REAL_RESCANS, MIN_RESCAN_PATIENTS
from siamese_med.study.vocabulary import NullSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_REAL_RESCANS = 60
"""No more real rescans of a stratum than this are measured, to limit the time. Unit: pairs. Source: our choice."""
REAL_EXTRA_LOG_SD = 0.05
"""Standard deviation of log figures, beyond that of the study's few real rescans.

Source: with 8 or 20 of 70 rescans as the reference, 7 and 5 % of the others had p < 0.05, see docs/design.md.
"""
PLANTED_PAIRS_PER_STRATUM = 8
"""Unchanged pairs of a stratum that are measured a second time with a planted change. Unit: pairs."""


@dataclass(frozen=True)
class NullPairJob:
    """One unchanged pair of a stratum to measure, for a worker process.

    Without `later`, both scans are simulated from `earlier`. `seed` is that of the simulation and of the planted
    change. If `planted`, the pair is measured a second time, with a planted change.
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
    """The results of all detectors on unchanged pairs, without and with a planted change.

    Attributes
    ----------
    floors
        The noise floor of each detector and of GROWTH.
    auc
        Of each detector: area under the ROC curve of z, planted against unchanged.
    n
        Number of pairs with a planted change.
    z
        Of each detector (pairs, 2): z without and with a change; NaN where none was planted.
    scans
        Id of the earlier scan of each pair.
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
    """Measure the noise floors of detectors and of growth on unchanged pairs, in parallel.

    Parameters
    ----------
    rescans
        Pairs of scans of one patient that are known to be unchanged; those of two contrasts are left out. A stratum
        with at least MIN_REAL_RESCANS of them, of MIN_RESCAN_PATIENTS or of all patients, uses them.
    scans
        Scans of the study. Every contrast among them gets two strata, same and other scanner. A stratum with too few
        real rescans is simulated from the first scans of its contrast, `config.simulated_rescans` pairs.

    Raises
    ------
    NotEnoughDataError
        There is no scan.
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
    """Measure real pairs with all detectors and GROWTH, in parallel; return each pair's stratum and figures."""
    jobs = [
        NullPairJob(reader, pair_measurement.find_pair_stratum(*pair), *pair, 0, detectors, False, config)
        for pair in pairs
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
            else simulated_rescans.build_synthetic_reference(name, findings)
            for where, findings in strata.items()
        }
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
    """Yield every stratum of the scans (each contrast, same and other scanner) with the pairs to measure in it."""
    for kind in dict.fromkeys((scan.modality, scan.contrast) for scan in scans):
        alike = [scan for scan in scans if (scan.modality, scan.contrast) == kind]
        for scanner in (SAME_SCANNER, OTHER_SCANNER):
            where = NoiseStratum(" ".join(kind), scanner)
            real = _spread_over_patients([pair for pair in rescans if _is_rescan_of(where, *pair)])
            patients, all_patients = ({scan.subject for scan in some} for some in ([one for one, _ in real], alike))
            if len(real) >= MIN_REAL_RESCANS and len(patients) >= min(MIN_RESCAN_PATIENTS, len(all_patients)):
                yield where, [*real[:MAX_REAL_RESCANS]]
            else:
                yield where, [(alike[number % len(alike)], None) for number in range(simulated)]


def _spread_over_patients(
    rescans: Sequence[tuple[PreparedScan, PreparedScan]],
) -> list[tuple[PreparedScan, PreparedScan]]:
    """The first rescan of every patient, then the second of each, and so on: a few come from many patients."""
    counted: Counter[str] = Counter()
    turns = []
    for earlier, _ in rescans:
        turns.append(counted[earlier.subject])
        counted[earlier.subject] += 1
    return [pair for _, pair in sorted(zip(turns, rescans, strict=True), key=lambda one: one[0])]


def _is_rescan_of(where: NoiseStratum, earlier: PreparedScan, later: PreparedScan) -> bool:
    """Whether two scans are of the stratum's own contrast; an unknown one counts as the other's for a verdict only."""
    alike = (earlier.modality, earlier.contrast) == (later.modality, later.contrast)
    return alike and pair_measurement.find_pair_stratum(earlier, later) == where


def _measure_job(pair: NullPairJob) -> tuple[dict[str, MapSummary], dict[str, MapSummary]]:
    """Return the figures of each detector and of GROWTH, and those of each detector with a planted change."""
    earlier = pair.reader.read_side(pair.earlier)
    if pair.later:
        later = pair.reader.read_side(pair.later)
    else:
        same = pair.stratum.scanner == SAME_SCANNER
        body = rescan.extract_body(earlier.scan)
        earlier, later = simulated_rescans.simulate_rescan(earlier, body, same, np.random.default_rng(pair.seed))
    spacing_mm = pair.config.spacing_mm
    laid = pair_registration.register_pair(earlier.scan, later.scan, (earlier.region, later.region), spacing_mm)
    if not pair.planted:
        return _findings(laid, pair), {}
    changed = detectability.plant_change(laid, spacing_mm, np.random.default_rng(pair.seed))
    return _findings(laid, pair), _figures(changed, pair)


def _findings(laid: RegisteredPair, pair: NullPairJob) -> dict[str, MapSummary]:
    growth = boundary_shift.measure_boundary_shift(laid, laid.space.spacing_mm)
    return {**_figures(laid, pair), GROWTH: boundary_shift.summarise_boundary_shift(growth, laid)}


def _figures(laid: RegisteredPair, pair: NullPairJob) -> dict[str, MapSummary]:
    return {
        name: change_map.summarise_map(
            detector(laid, laid.space.spacing_mm), laid, change_map.get_level_quantile(detector)
        )
        for name, detector in pair.detectors.items()
    }
