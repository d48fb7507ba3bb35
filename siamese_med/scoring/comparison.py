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

from siamese_med import resampling, volume
from siamese_med.config import ScoreConfig
from siamese_med.scoring import change, components, detectability, expansion, floor, looks, overlay, pictures
from siamese_med.scoring.change import Finding
from siamese_med.scoring.expansion import Expansion
from siamese_med.scoring.floor import Floor, Reference, Stratum
from siamese_med.scoring.overlay import Detector, Overlay, PairSpace
from siamese_med.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray


UNMEASURED: dict[str, Any] = {
    **dict.fromkeys(("change_z", "change_p", "change_p_adjusted", "change_sign", "volume_ml", "pair_quality")),
    **dict.fromkeys(("growth_ml", "growth_p", "smallest_detectable_ml", "reference", "transform")),
    "components": [],
    "seen": [],
    "verdict": "not_comparable",
}
"""The columns of a pair of one patient of which nothing could be measured."""


class Kind(Protocol):
    """What decides which pairs a scan's pair is held against."""

    @property
    def modality(self) -> str: ...
    @property
    def contrast(self) -> str: ...
    @property
    def scanner(self) -> str: ...


@dataclass(frozen=True)
class Side:
    """One scan of a pair and what is known of it."""

    scan: Volume
    matrix: NDArray[np.float64]
    modality: str
    contrast: str
    scanner: str
    aligned: bool


def obstacles(earlier: Side, later: Side) -> list[str]:
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
class Measured:
    """What is measured of one pair before it is held against a reference: where it differs, and where it has grown."""

    pair: Overlay
    evidence: Tensor
    finding: Finding
    expansion: Expansion
    growth: Finding


@dataclass(frozen=True)
class Instrument:
    """What a model measures change with: a detector, and what it and local growth come to where nothing changed."""

    detector: Detector
    floor: Floor
    growth: Floor


def stratum(earlier: Kind, later: Kind) -> Stratum:
    """The pairs without change that two scans are to be held against."""
    return floor.stratum(earlier.modality, (earlier.contrast, later.contrast), (earlier.scanner, later.scanner))


def measured(earlier: Side, later: Side, space: PairSpace, detector: Detector) -> Measured:
    """The two scans laid on each other, the evidence that they differ, and its figure."""
    pair = overlay.lay(earlier.scan, later.scan, (earlier.matrix, later.matrix), space)
    evidence = detector(pair, space.spacing_mm)
    growth = expansion.measure(pair, space.spacing_mm)
    return Measured(pair, evidence, change.find(evidence, pair, space), growth, expansion.find(growth, pair, space))


def judge(
    earlier: Side, later: Side, space: PairSpace, instrument: Instrument, config: ScoreConfig
) -> tuple[dict[str, Any], tuple[Measured, Tensor] | None]:
    """The change columns of one pair, and what was measured with its probability map unless nothing was.

    `seen` among them is for `concluded`, which must follow where a patient has several pairs.
    """
    reasons = obstacles(earlier, later)
    known, grown = (
        None if reasons else one.of(stratum(earlier, later)) for one in (instrument.floor, instrument.growth)
    )
    if known is None or grown is None:
        return {**UNMEASURED, "comparable": False, "reasons": reasons or ["contrast_not_in_reference"]}, None
    found = measured(earlier, later, space, instrument.detector)
    reasons = _doubts(found, known, config)
    finding, expected = found.finding, known.expected_tail(found.finding)
    probability = change.probability_map(found.evidence, found.pair.inside, finding, expected)
    columns = {
        **UNMEASURED,
        "comparable": not reasons,
        "reasons": reasons,
        "change_z": max(known.z(finding), grown.z(found.growth)),
        "change_p": either(known.p(finding), grown.p(found.growth)),
        "change_sign": finding.sign,
        "volume_ml": int((probability >= change.MAP_THRESHOLD).sum()) * space.voxel_ml,
        "growth_ml": round(found.expansion.ml, 4),
        "growth_p": grown.p(found.growth),
        "components": _components(found, probability, known, space),
        "seen": [] if reasons else _seen(found, later, known, space, instrument.detector),
        "reference": {"stratum": stratum(earlier, later).words, "source": known.source, "n": len(known.figures)},
        "pair_quality": round(found.pair.quality, 4),
        "transform": (found.pair.matrix_later @ np.linalg.inv(found.pair.matrix_earlier)).round(6).tolist(),
    }
    return columns, (found, probability)


def either(*p: float) -> float:
    """Of several figures of one pair, any of which may speak (Bonferroni)."""
    return min(1.0, len(p) * min(p))


def concluded(pairs: Sequence[dict[str, Any]], config: ScoreConfig) -> list[dict[str, Any]]:
    """The columns of all pairs of one patient with what depends on how many of them there are to look at."""
    judged = [number for number, columns in enumerate(pairs) if columns["comparable"]]
    p = dict(zip(judged, looks.adjusted([pairs[number]["change_p"] for number in judged]), strict=True))
    done = []
    for number, columns in enumerate(pairs):
        seen = {name: value for name, value in columns.items() if name != "seen"}
        seen["components"] = [components.with_verdict(part, config.significance) for part in columns["components"]]
        if number in p:
            verdict = "changed" if p[number] < config.significance else "no_change"
            smallest = detectability.smallest_ml(columns["seen"], config.significance / len(judged))
            seen |= {"change_p_adjusted": p[number], "verdict": verdict, "smallest_detectable_ml": smallest}
        done.append(seen)
    return done


def _components(found: Measured, probability: Tensor, known: Reference, space: PairSpace) -> list[dict[str, Any]]:
    def p(part: Tensor) -> float:
        return known.p(found.finding, change.figure(part, space))

    changed = probability >= change.MAP_THRESHOLD
    parts = components.components(found.pair, found.evidence, changed, space, p)
    return [part.as_json() for part in parts]


def _seen(
    found: Measured, later: Side, known: Reference, space: PairSpace, detector: Detector
) -> list[tuple[float, float]]:
    def p(before: Tensor, after: Tensor) -> list[float]:
        """Of the figure of a pair without change where one place's share of it is exchanged."""
        shares = (place.double().abs().pow(change.Q).sum((1, 2, 3)) * space.voxel_ml for place in (after, before))
        gained = torch.sub(*shares) + quiet**change.Q
        figures = gained.clamp(min=0).pow(1 / change.Q).tolist()
        return [either(known.p(found.finding, figure), 1.0) for figure in figures]

    # a change that is there already would let the smallest one seem seen
    quiet = min(found.finding.figure, math.exp(known.expected(found.finding)))
    softness = detectability.softness_mm(later.scan.affine, later.matrix)
    return detectability.seen(found.pair, detector, space.spacing_mm, softness, p)


def _doubts(found: Measured, known: Reference, config: ScoreConfig) -> list[str]:
    doubts = []
    if found.pair.quality < config.min_pair_quality:
        doubts.append("pair_alignment_failed")
    if found.pair.overlap < config.min_overlap:
        doubts.append("little_overlap")
    if found.finding.noise > floor.NOISIER * known.noise_max:
        doubts.append("outside_reference")
    return doubts


def write_map(path: Path, earlier: Side, found: Measured, probability: Tensor, space: PairSpace) -> None:
    """The probability map as NIfTI in the earlier scan's space, two decimals; `volume_ml` can be counted in it."""
    grid = np.linalg.inv(found.pair.matrix_earlier) @ earlier.scan.affine
    drawn = Volume(probability.numpy(), space.affine)
    moved = resampling.resample(drawn, grid, earlier.scan.voxels.shape, nearest=True)[0, 0]
    volume.write(path, Volume(np.round(moved.numpy(), 2).astype(np.float32), earlier.scan.affine))


def write_pictures(path: Path, found: Measured, probability: Tensor, space: PairSpace) -> None:
    """The slices for the report."""
    pictures.write(path, found.pair, found.evidence, probability, space)
