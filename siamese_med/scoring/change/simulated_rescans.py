"""Simulated rescans of one scan: unchanged pairs for a noise floor, where there are no real ones.

A simulated rescan takes one scan as the truth and acquires it twice with simulated scanners (`simulation.rescan`). The
rescans of the study's scans make the noise floor of a model. Where that does not cover a pair, the rescans of the
pair's own two scans do (`measure_own_references`): they have its contrast, its anatomy, its slices and its noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change import noise_floor, pair_measurement
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import NoChangeReference
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.simulation import rescan
from siamese_med.simulation.rescan import ScannedBody
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.vocabulary import NullSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

OWN_RESCANS = 8
"""Rescans that are simulated from a pair's own scans, half of them from each. Unit: pairs. Source: our choice; each
takes about as long as to measure the pair."""

SYNTHETIC_EXTRA_LOG_SD, SYNTHETIC_GROWTH_EXTRA_LOG_SD = 0.1, 0.25
"""Standard deviation of log figures, beyond that of simulated rescans, for detectors and for growth.

Simulated rescans are more alike than real ones. Source: measured on development cohorts, see docs/design.md.
"""
GROWTH = "growth"
"""The name of local volume change among the detectors. It is measured beside each of them."""
NOISE_FRACTION_RANGE = (0.5, 1.0)
"""Noise of a simulated rescan, as a share of the noise measured in the source. That is too high: it includes fine
anatomy. Source: our choice."""


def build_synthetic_reference(
    name: str, findings: Sequence[MapSummary], source: NullSource = NullSource.SYNTHESISED
) -> NoChangeReference:
    """Build a reference from simulated rescans, with the extra spread of a detector's evidence or of GROWTH."""
    return noise_floor.build_no_change_reference(
        findings,
        str(source),
        SYNTHETIC_GROWTH_EXTRA_LOG_SD if name == GROWTH else SYNTHETIC_EXTRA_LOG_SD,
    )


class OwnReferences(NamedTuple):
    """The unchanged pairs of a pair's own: for the evidence of the detector, and for local growth."""

    evidence: NoChangeReference
    growth: NoChangeReference


def measure_own_references(
    scans: tuple[PairScan, PairScan], same_scanner: bool, spacing_mm: float, detector: ChangeDetector
) -> OwnReferences:
    """Measure OWN_RESCANS simulated rescans of the two scans of a pair.

    Parameters
    ----------
    scans
        The scans in an order that their content decides: the result depends on it.
    same_scanner
        Whether both scans of a rescan come from one simulated scanner.
    spacing_mm
        Voxel edge at which change is measured.
    detector
        The detector of the model.
    """
    found = []
    bodies = [rescan.extract_body(one.scan) for one in scans]
    for number in range(OWN_RESCANS):
        rng = np.random.default_rng(number)
        pair = simulate_rescan(scans[number % 2], bodies[number % 2], same_scanner, rng)
        found.append(pair_measurement.measure_pair(*pair, spacing_mm, detector))
    return OwnReferences(
        build_synthetic_reference("evidence", [one.finding for one in found], NullSource.OWN),
        build_synthetic_reference(GROWTH, [one.growth for one in found], NullSource.OWN),
    )


def simulate_rescan(
    source: PairScan, body: ScannedBody, same_scanner: bool, rng: np.random.Generator
) -> tuple[PairScan, PairScan]:
    """Simulate two scans of the body of a scan, with its region, see `simulate_scan_pair`."""
    first, second = (
        replace(source, scan=one.volume, region=_move_region(source.region, one.to_anatomy), to_template=None)
        for one in simulate_scan_pair(body, same_scanner, rng)
    )
    return first, second


def _move_region(region: Volume | None, to_source: NDArray[np.float64]) -> Volume | None:
    """The region of a simulated scan; `to_source` (4x4): from its mm to those of the scan that it was made from."""
    return region and Volume(region.voxels, np.linalg.inv(to_source) @ region.affine)


def simulate_scan_pair(
    body: ScannedBody, same_machine: bool, rng: np.random.Generator
) -> tuple[Acquisition, Acquisition]:
    """Simulate two acquisitions of one body, by one scanner or by two, each in its own pose.

    Parameters
    ----------
    body
        What a scan shows, taken as the truth, see `simulation.rescan.extract_body`.
    same_machine
        Whether both have one scanner, protocol and contrast curve; noise and pose always differ.
    rng
        Source of all random choices.
    """
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
        rescan.acquire_rescan(body, machine, rng, contrast=contrast)
        for machine, contrast in (protocols[0], protocols[0 if same_machine else 1])
    )
    return one, two
