"""Measurement of a pair of scans of one patient, before it is compared with unchanged pairs: steps 1 to 3 of
`pair_scoring`, and local growth beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from siamese_med.scoring.change import boundary_shift, change_map, noise_floor, pair_registration
from siamese_med.scoring.change.boundary_shift import BoundaryShift
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import NoiseStratum
from siamese_med.scoring.change.pair_registration import ChangeDetector, RegisteredPair
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.study.vocabulary import UNKNOWN


class AcquisitionKind(Protocol):
    """The header entries that decide which unchanged pairs a pair is compared with."""

    @property
    def modality(self) -> str: ...
    @property
    def contrast(self) -> str: ...
    @property
    def scanner(self) -> str: ...


@dataclass(frozen=True)
class PairMeasurement:
    """The result of steps 1 to 3, before the pair is compared with unchanged pairs.

    `evidence` (i, j, k), float32, is summarised by `finding`, and the maps of local growth, `expansion`, by `growth`.
    """

    pair: RegisteredPair
    evidence: Tensor
    finding: MapSummary
    expansion: BoundaryShift
    growth: MapSummary

    def swap(self) -> PairMeasurement:
        """Return the measurement as it is for the two scans exchanged: all signs change."""
        return PairMeasurement(
            self.pair.swap(),
            -self.evidence,
            replace(self.finding, sign=-self.finding.sign),
            replace(
                self.expansion,
                relative=-self.expansion.relative,
                deviation=-self.expansion.deviation,
                ml=-self.expansion.ml,
            ),
            replace(self.growth, sign=-self.growth.sign),
        )


def find_pair_stratum(earlier: AcquisitionKind, later: AcquisitionKind) -> NoiseStratum:
    """Return the stratum of unchanged pairs (modality, contrast, same or other scanner) to compare two scans with."""
    modality = later.modality if earlier.modality == UNKNOWN else earlier.modality
    return noise_floor.assign_stratum(modality, (earlier.contrast, later.contrast), (earlier.scanner, later.scanner))


def measure_pair(earlier: PairScan, later: PairScan, spacing_mm: float, detector: ChangeDetector) -> PairMeasurement:
    """Register two scans of one patient, detect change, and summarise it: steps 1 to 3, and local growth beside them.

    For swapped scans the evidence and the growth change their signs; for a scan with itself both are 0.
    """
    pair = pair_registration.register_pair(
        earlier.scan, later.scan, (earlier.region, later.region), spacing_mm
    )  # step 1
    evidence = detector(pair, spacing_mm)  # step 2
    growth = boundary_shift.measure_boundary_shift(pair, spacing_mm)
    return PairMeasurement(
        pair,
        evidence,
        change_map.summarise_map(evidence, pair, change_map.get_level_quantile(detector)),  # step 3
        growth,
        boundary_shift.summarise_boundary_shift(growth, pair),
    )


def put_in_fixed_order(earlier: PairScan, later: PairScan) -> tuple[tuple[PairScan, PairScan], bool]:
    """Put two scans in an order that their content decides; returns them, and whether they are exchanged."""
    turned = later.scan.content_digest() < earlier.scan.content_digest()
    return ((later, earlier) if turned else (earlier, later)), turned
