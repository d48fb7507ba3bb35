"""Everything that is measured of one pair of scans of one patient, and the words that go with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change import (
    boundary_shift,
    change_map,
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
from siamese_med.study.config import ScoreConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray


NOT_COMPARABLE_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("change_z", "change_p", "change_p_adjusted", "change_sign", "volume_ml", "pair_quality")),
    **dict.fromkeys(("growth_ml", "growth_p", "smallest_detectable_ml", "reference", "transform")),
    "components": [],
    "seen": [],
    "verdict": "not_comparable",
}
"""The columns of a pair of one patient of which nothing could be measured."""


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


def find_obstacles(earlier: PairScan, later: PairScan) -> list[str]:
    """Reasons, known before anything is measured, why a pair cannot be judged."""
    found = []
    if earlier.modality != later.modality:
        found.append("other_modality")
    elif earlier.contrast != later.contrast and "unknown" not in (earlier.contrast, later.contrast):
        found.append("other_contrast")
    if not (earlier.aligned and later.aligned):
        found.append("alignment_failed")
    return found


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
) -> tuple[dict[str, Any], tuple[PairMeasurement, Tensor] | None]:
    """The change columns of one pair, and what was measured with its probability map unless nothing was.

    `seen` among them is for `apply_multiple_testing`, which must follow where a patient has several pairs.
    """
    reasons = find_obstacles(earlier, later)
    known, grown = (
        None if reasons else one.of(find_pair_stratum(earlier, later)) for one in (instrument.floor, instrument.growth)
    )
    if known is None or grown is None:
        return {
            **NOT_COMPARABLE_COLUMNS,
            "comparable": False,
            "reasons": reasons or ["contrast_not_in_reference"],
        }, None
    found = measure_pair(earlier, later, space, instrument.detector)
    reasons = _doubts(found, known, config)
    finding, expected = found.finding, known.expected_tail(found.finding)
    probability = change_map.compute_probability_map(found.evidence, found.pair.inside, finding, expected)
    columns = {
        **NOT_COMPARABLE_COLUMNS,
        "comparable": not reasons,
        "reasons": reasons,
        "change_z": max(known.z(finding), grown.z(found.growth)),
        "change_p": combine_p_values(known.p(finding), grown.p(found.growth)),
        "change_sign": finding.sign,
        "volume_ml": int((probability >= change_map.CHANGED_VOXEL_PROBABILITY).sum()) * space.voxel_ml,
        "growth_ml": round(found.expansion.ml, 4),
        "growth_p": grown.p(found.growth),
        "components": _components(found, probability, known, space),
        "seen": [] if reasons else _detection_curve(found, later, known, space, instrument.detector),
        "reference": {
            "stratum": find_pair_stratum(earlier, later).words,
            "source": known.source,
            "n": len(known.figures),
        },
        "pair_quality": round(found.pair.quality, 4),
        "transform": (found.pair.matrix_later @ np.linalg.inv(found.pair.matrix_earlier)).round(6).tolist(),
    }
    return columns, (found, probability)


def combine_p_values(*p: float) -> float:
    """Of several figures of one pair, any of which may speak (Bonferroni)."""
    return min(1.0, len(p) * min(p))


def apply_multiple_testing(pairs: Sequence[dict[str, Any]], config: ScoreConfig) -> list[dict[str, Any]]:
    """The columns of all pairs of one patient with what depends on how many of them there are to look at."""
    judged = [number for number, columns in enumerate(pairs) if columns["comparable"]]
    p = dict(zip(judged, multiple_testing.adjust_holm([pairs[number]["change_p"] for number in judged]), strict=True))
    done = []
    for number, columns in enumerate(pairs):
        seen = {name: value for name, value in columns.items() if name != "seen"}
        seen["components"] = [
            components.mark_stable_component(part, config.significance) for part in columns["components"]
        ]
        if number in p:
            verdict = "changed" if p[number] < config.significance else "no_change"
            smallest = detectability.find_smallest_detectable_ml(columns["seen"], config.significance / len(judged))
            seen |= {"change_p_adjusted": p[number], "verdict": verdict, "smallest_detectable_ml": smallest}
        done.append(seen)
    return done


def _components(
    found: PairMeasurement, probability: Tensor, known: NoChangeReference, space: PairSpace
) -> list[dict[str, Any]]:
    def p(part: Tensor) -> float:
        return known.p(found.finding, change_map.compute_q_norm(part, space))

    changed = probability >= change_map.CHANGED_VOXEL_PROBABILITY
    parts = components.find_components(found.pair, found.evidence, changed, space, p)
    return [part.as_json() for part in parts]


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


def _doubts(found: PairMeasurement, known: NoChangeReference, config: ScoreConfig) -> list[str]:
    doubts = []
    if found.pair.quality < config.min_pair_quality:
        doubts.append("pair_alignment_failed")
    if found.pair.overlap < config.min_overlap:
        doubts.append("little_overlap")
    if found.finding.noise > noise_floor.NOISE_LIMIT_FACTOR * known.noise_max:
        doubts.append("outside_reference")
    return doubts


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
