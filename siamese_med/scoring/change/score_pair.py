"""Everything that is measured of one pair of scans of one patient, and the words that go with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change import (
    boundary_shift,
    change_map,
    comparability,
    components,
    detectability,
    multiple_testing,
    noise_floor,
    pair_registration,
    pair_slices,
)
from siamese_med.scoring.change.boundary_shift import BoundaryShift
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import NoChangeReference, NoiseFloor, NoiseStratum
from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace, RegisteredPair
from siamese_med.study.component import Component
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import MeasuredPair, PairScore, ReferencePairs
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY
from siamese_med.study.vocabulary import NotComparable, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AcquisitionKind(Protocol):
    """What decides which pairs a scan's pair is held against."""

    @property
    def modality(self) -> str: ...
    @property
    def contrast(self) -> str: ...
    @property
    def scanner(self) -> str: ...


@dataclass(frozen=True)
class PairScan:
    """One scan of a pair and what is known of it."""

    scan: Volume
    matrix: NDArray[np.float64]
    modality: str
    contrast: str
    scanner: str
    aligned: bool


@dataclass(frozen=True)
class PairMeasurement:
    """What is measured of one pair before it is held against a reference: where it differs, and where it has grown."""

    pair: RegisteredPair
    evidence: Tensor
    finding: MapSummary
    expansion: BoundaryShift
    growth: MapSummary


@dataclass(frozen=True)
class CalibratedDetector:
    """What a model measures change with: a detector, and what it and local growth come to where nothing changed."""

    detector: ChangeDetector
    floor: NoiseFloor
    growth: NoiseFloor


def find_pair_stratum(earlier: AcquisitionKind, later: AcquisitionKind) -> NoiseStratum:
    """The pairs without change that two scans are to be held against."""
    return noise_floor.assign_stratum(
        earlier.modality, (earlier.contrast, later.contrast), (earlier.scanner, later.scanner)
    )


def measure_pair(earlier: PairScan, later: PairScan, space: PairSpace, detector: ChangeDetector) -> PairMeasurement:
    """The two scans laid on each other, the evidence that they differ, and its figure."""
    pair = pair_registration.register_pair(earlier.scan, later.scan, (earlier.matrix, later.matrix), space)
    evidence = detector(pair, space.spacing_mm)
    growth = boundary_shift.measure_boundary_shift(pair, space.spacing_mm)
    return PairMeasurement(
        pair,
        evidence,
        change_map.summarise_map(evidence, pair, space),
        growth,
        boundary_shift.summarise_boundary_shift(growth, pair, space),
    )


def score_pair(
    earlier: PairScan, later: PairScan, space: PairSpace, instrument: CalibratedDetector, config: ScoreConfig
) -> tuple[MeasuredPair, tuple[PairMeasurement, Tensor] | None]:
    """Measure the change of one pair of one patient.

    Returns
    -------
    pair
        Its score as far as it does not depend on the patient's other pairs; `apply_multiple_testing` gives the verdict.
    measured
        What was measured and its probability map (i, j, k), or None where nothing could be measured.
    """
    reasons = comparability.reasons_before_measuring(earlier, later)
    known, grown = (one.of(find_pair_stratum(earlier, later)) for one in (instrument.floor, instrument.growth))
    reasons = reasons or comparability.reasons_of_reference(known, grown)
    if reasons or known is None or grown is None:
        return _unmeasured(reasons), None
    found = measure_pair(earlier, later, space, instrument.detector)
    pair, finding = found.pair, found.finding
    reasons = comparability.reasons_after_measuring(pair.quality, pair.overlap, finding.noise, known.noise_max, config)
    probability = change_map.compute_probability_map(found.evidence, pair.inside, finding, known.expected_tail(finding))
    score = PairScore(
        comparable=not reasons,
        reasons=reasons,
        change_z=max(known.z(finding), grown.z(found.growth)),
        change_p=combine_p_values(known.p(finding), grown.p(found.growth)),
        change_sign=finding.sign,
        volume_ml=int((probability >= MIN_CHANGE_PROBABILITY).sum()) * space.voxel_ml,
        growth_ml=round(found.expansion.ml, 4),
        growth_p=grown.p(found.growth),
        components=_components(found, probability, known, space),
        reference=ReferencePairs(find_pair_stratum(earlier, later).words, known.source, len(known.figures)),
        verdict=Verdict.NOT_COMPARABLE,
        pair_quality=round(pair.quality, 4),
        transform=_rows((pair.matrix_later @ np.linalg.inv(pair.matrix_earlier)).round(6)),
    )
    curve = [] if reasons else _detection_curve(found, later, known, space, instrument.detector)
    return MeasuredPair(score, detection_curve=tuple(curve)), (found, probability)


def _unmeasured(reasons: Sequence[NotComparable]) -> MeasuredPair:
    return MeasuredPair(PairScore(comparable=False, reasons=tuple(reasons), verdict=Verdict.NOT_COMPARABLE))


def _rows(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def combine_p_values(*p: float) -> float:
    """Of several figures of one pair, any of which may speak (Bonferroni)."""
    return min(1.0, len(p) * min(p))


def apply_multiple_testing(pairs: Sequence[MeasuredPair], config: ScoreConfig) -> list[PairScore]:
    """Give the verdicts of all pairs of one patient, whose p are adjusted for each other."""
    scores = [pair.score for pair in pairs]
    judged = {n: one.change_p for n, one in enumerate(scores) if one.comparable and one.change_p is not None}
    adjusted = dict(zip(judged, multiple_testing.adjust_holm(list(judged.values())), strict=True))
    return [_concluded(pair, adjusted.get(number), len(judged), config) for number, pair in enumerate(pairs)]


def _concluded(pair: MeasuredPair, p: float | None, looked_at: int, config: ScoreConfig) -> PairScore:
    """Give the verdict of one of `looked_at` pairs; none where it has no adjusted `p`."""
    parts = tuple(components.mark_stable_component(part, config.significance) for part in pair.score.components)
    score = replace(pair.score, components=parts)
    if p is None:
        return score
    return replace(
        score,
        change_p_adjusted=p,
        verdict=Verdict.CHANGED if p < config.significance else Verdict.NO_CHANGE,
        smallest_detectable_ml=detectability.find_smallest_detectable_ml(
            pair.detection_curve, config.significance / looked_at
        ),
    )


def _components(
    found: PairMeasurement, probability: Tensor, known: NoChangeReference, space: PairSpace
) -> tuple[Component, ...]:
    def p(part: Tensor) -> float:
        return known.p(found.finding, change_map.compute_q_norm(part, space))

    changed = probability >= MIN_CHANGE_PROBABILITY
    return tuple(components.find_components(found.pair, found.evidence, changed, space, p))


def _detection_curve(
    found: PairMeasurement, later: PairScan, known: NoChangeReference, space: PairSpace, detector: ChangeDetector
) -> list[tuple[float, float]]:
    def p(before: Tensor, after: Tensor) -> list[float]:
        """Of the figure of a pair without change where one place's share of it is exchanged."""
        shares = (
            place.double().abs().pow(change_map.NORM_EXPONENT).sum((1, 2, 3)) * space.voxel_ml
            for place in (after, before)
        )
        gained = torch.sub(*shares) + quiet**change_map.NORM_EXPONENT
        figures = gained.clamp(min=0).pow(1 / change_map.NORM_EXPONENT).tolist()
        return [combine_p_values(known.p(found.finding, figure), 1.0) for figure in figures]

    # a change that is there already would let the smallest one seem seen
    quiet = min(found.finding.figure, math.exp(known.expected(found.finding)))
    softness = detectability.compute_blur_sd_mm(later.scan.affine, later.matrix)
    return detectability.measure_detection_curve(found.pair, detector, space.spacing_mm, softness, p)


def write_change_map(
    path: Path, earlier: PairScan, found: PairMeasurement, probability: Tensor, space: PairSpace
) -> None:
    """The probability map as NIfTI in the earlier scan's space, two decimals; `volume_ml` can be counted in it."""
    grid = np.linalg.inv(found.pair.matrix_earlier) @ earlier.scan.affine
    drawn = Volume(probability.numpy(), space.affine)
    moved = resampling.resample_volume(drawn, grid, earlier.scan.voxels.shape, nearest=True)[0, 0]
    volume.write_volume(path, Volume(np.round(moved.numpy(), 2).astype(np.float32), earlier.scan.affine))


def write_pictures(path: Path, found: PairMeasurement, probability: Tensor, space: PairSpace) -> None:
    """The slices for the report."""
    pair_slices.write_pair_slices(path, found.pair, found.evidence, probability, space)
