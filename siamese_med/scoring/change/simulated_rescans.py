"""Simulated rescans of one scan: unchanged pairs for a noise floor, where there are no real ones.

A simulated rescan takes one scan as the truth and acquires it twice with simulated scanners (`simulation.rescan`). The
rescans of the study's scans make the noise floor of a model. Where that does not cover a pair, the rescans of the
pair's own two scans do (`build_own_references`): they have its contrast, its anatomy, its slices and its noise.

The rescans of a scan depend on that scan alone (`measure_rescans`), so all pairs of the scan share them, and the cost
grows with the number of scans, not of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med.imaging.volume import Volume
from siamese_med.runtime import parallel
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

RESCANS_PER_SCAN = 4
"""Rescans that are simulated from one scan; a pair is compared with those of both its scans. Unit: pairs.

Source: our choice; each takes about as long as to measure the pair."""

SYNTHETIC_EXTRA_LOG_SD, SYNTHETIC_GROWTH_EXTRA_LOG_SD = 0.1, 0.25
"""Standard deviation of log figures, beyond that of simulated rescans, for detectors and for growth.

Simulated rescans are more alike than real ones. Source: measured on development cohorts, see docs/design.md.
"""
OWN_EXTRA_LOG_SD, OWN_GROWTH_EXTRA_LOG_SD = 0.05, 0.15
"""The same, where the rescans are those of the pair's own two scans: they have its anatomy and noise.

Source: of 303 unchanged pairs 15 alarm, 5.0 % where 5 % may (`python -m benchmarks.own_false_alarms`).
"""
GROWTH = "growth"
"""The name of local volume change among the detectors. It is measured beside each of them."""
SEED_CELLS = 16
"""Parts along each axis of a scan, of which one gives the seed of its rescans: about 15 mm of a head. Source: our
choice; the brain is several times as large, and its middle moves by far less between two masks of one scan."""
NOISE_FRACTION_RANGE = (0.5, 1.0)
"""Noise of a simulated rescan, as a share of the noise measured in the source. That is too high: it includes fine
anatomy. Source: our choice."""


def build_synthetic_reference(
    name: str, findings: Sequence[MapSummary], source: NullSource = NullSource.SYNTHESISED
) -> NoChangeReference:
    """Build a reference from simulated rescans, with the extra spread of a detector's evidence or of GROWTH."""
    extra = (SYNTHETIC_EXTRA_LOG_SD, SYNTHETIC_GROWTH_EXTRA_LOG_SD)
    if source == NullSource.OWN:
        extra = (OWN_EXTRA_LOG_SD, OWN_GROWTH_EXTRA_LOG_SD)
    return noise_floor.build_no_change_reference(findings, str(source), extra[name == GROWTH])


class MeasuredRescan(NamedTuple):
    """The figures of one simulated rescan: those of the detector's evidence, and those of local growth."""

    evidence: MapSummary
    growth: MapSummary


class OwnReferences(NamedTuple):
    """The unchanged pairs of a pair's own: for the evidence of the detector, and for local growth."""

    evidence: NoChangeReference
    growth: NoChangeReference


RescanSource = Callable[[PairScan, bool, float, ChangeDetector], Sequence[MeasuredRescan]]
"""Gives the rescans of a scan: `measure_rescans`, or a store that asks it for those that it lacks."""


def measure_rescans(
    source: PairScan, same_scanner: bool, spacing_mm: float, detector: ChangeDetector
) -> list[MeasuredRescan]:
    """Measure RESCANS_PER_SCAN simulated rescans of one scan, side by side. The result depends on the arguments alone.

    Parameters
    ----------
    source
        The scan. Only its voxels, its affine and its region count.
    same_scanner
        Whether both scans of a rescan come from one simulated scanner.
    spacing_mm
        Voxel edge at which change is measured.
    detector
        The detector of the model. Several threads may call it at once, see `parallel.run_in_threads`.
    """
    body = rescan.extract_body(source.scan)
    seed = draw_seed(source)

    def measure(number: int) -> MeasuredRescan:
        pair = simulate_rescan(source, body, same_scanner, np.random.default_rng([seed, number]))
        measured = pair_measurement.measure_pair(*pair, spacing_mm, detector)
        return MeasuredRescan(measured.finding, measured.growth)

    return parallel.run_in_threads(measure, range(RESCANS_PER_SCAN))


def draw_seed(source: PairScan) -> int:
    """Draw the seed of a scan's rescans from its voxels about the middle of what is compared.

    By content, so that the rescans of two scans of a patient are not drawn alike. By the middle alone, since a face
    that was removed, or a mask that is a voxel wider, must not change which scanners and poses are drawn. Where there
    is no region, all voxels count.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> head = rng.normal(size=(32, 32, 32)).astype(np.float32)
    >>> middle = np.zeros((32, 32, 32), dtype=np.float32)
    >>> middle[9:23, 9:23, 9:23] = 1
    >>> scan = PairScan(Volume(head, np.eye(4)), Volume(middle, np.eye(4)), None, "MR", "T1w", "unknown")
    >>> without_face = replace(scan, scan=Volume(np.where(np.arange(32) < 30, head, 0), np.eye(4)))
    >>> draw_seed(scan) == draw_seed(without_face)
    True
    """
    shown, region = source.scan, source.region
    inside = None if region is None else np.argwhere(region.voxels > 0.5)
    if region is not None and inside is not None and len(inside):
        middle = np.linalg.inv(shown.affine) @ region.affine @ [*inside.mean(axis=0), 1]
        cells = np.clip(SEED_CELLS * middle[:3] // shown.voxels.shape, 0, SEED_CELLS - 1)
        bounds = np.array([cells, cells + 1]) * shown.voxels.shape / SEED_CELLS
        first, last = np.floor(bounds[0]).astype(int), np.ceil(bounds[1]).astype(int)
        block = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
        shown = Volume(shown.voxels[block], shown.affine)
    return int(shown.content_digest()[:16], 16)


def build_own_references(first: Sequence[MeasuredRescan], second: Sequence[MeasuredRescan]) -> OwnReferences:
    """Build the references of a pair from the rescans of its two scans.

    Put the scans in an order that their content decides: the last digits depend on it.
    """
    found = [*first, *second]
    return OwnReferences(
        build_synthetic_reference("evidence", [one.evidence for one in found], NullSource.OWN),
        build_synthetic_reference(GROWTH, [one.growth for one in found], NullSource.OWN),
    )


def simulate_rescan(
    source: PairScan, body: ScannedBody, same_scanner: bool, rng: np.random.Generator
) -> tuple[PairScan, PairScan]:
    """Simulate two scans of the body of a scan, with its region, see `simulate_scan_pair`."""
    first, second = (
        replace(
            source,
            scan=one.volume,
            region=_move_region(source.region, one.to_anatomy),
            to_template=None,
            structures=None,
        )
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
