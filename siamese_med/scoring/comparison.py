"""Everything that is measured of one pair of scans of one patient, and the words that go with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med import resampling, volume
from siamese_med.config import ScoreConfig
from siamese_med.scoring import change, overlay, pictures, residual
from siamese_med.scoring.change import Finding, Reference
from siamese_med.scoring.overlay import Overlay, PairSpace
from siamese_med.scoring.residual import Residual
from siamese_med.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One scan of a pair and what is known of it."""

    scan: Volume
    matrix: NDArray[np.float64]
    modality: str
    contrast: str
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
    """What is measured of one pair before it is held against a reference."""

    pair: Overlay
    residual: Residual
    finding: Finding


def measured(earlier: Side, later: Side, space: PairSpace, config: ScoreConfig) -> Measured:
    """The two scans laid on each other, what differs between them, and its figure."""
    pair = overlay.lay(earlier.scan, later.scan, (earlier.matrix, later.matrix), space)
    found = residual.measure(pair, space.spacing_mm, config.smoothing_mm)
    return Measured(pair, found, change.find(found, pair.inside, space))


def judge(
    earlier: Side, later: Side, space: PairSpace, known: Reference, config: ScoreConfig
) -> tuple[dict[str, Any], tuple[Measured, Tensor] | None]:
    """The change columns of one pair, and what was measured with its probability map unless nothing was."""
    reasons = obstacles(earlier, later)
    if "other_modality" in reasons or "alignment_failed" in reasons:
        return _verdict({}, reasons, config), None
    found = measured(earlier, later, space, config)
    finding = found.finding
    reasons += _doubts(found, known, config)
    probability = change.probability_map(found.residual, found.pair.inside, finding, known)
    columns = {
        "change_z": known.z(finding.figure),
        "change_p": known.p(finding.figure),
        "change_sign": finding.sign,
        "volume_ml": change.changed_ml(probability, space),
        "smallest_detectable_ml": change.smallest_detectable_ml(
            finding, known, space, config.smoothing_mm, config.significance
        ),
        "pair_quality": round(found.pair.quality, 4),
    }
    return _verdict(columns, reasons, config), (found, probability)


def _doubts(found: Measured, known: Reference, config: ScoreConfig) -> list[str]:
    doubts = []
    if found.pair.quality < config.min_pair_quality:
        doubts.append("pair_alignment_failed")
    if found.pair.overlap < config.min_overlap:
        doubts.append("little_overlap")
    if found.finding.noise > change.NOISIER * known.noise_max:
        doubts.append("outside_reference")
    return doubts


def _verdict(columns: dict[str, Any], reasons: list[str], config: ScoreConfig) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("change_z", "change_p", "change_sign", "volume_ml", "smallest_detectable_ml", "pair_quality"), None
    )
    verdict = "not_comparable"
    if not reasons:
        verdict = "changed" if columns["change_p"] < config.significance else "no_change"
    return {**empty, **columns, "comparable": not reasons, "reasons": reasons, "verdict": verdict}


def write_map(path: Path, earlier: Side, found: Measured, probability: Tensor, space: PairSpace) -> None:
    """The probability map as NIfTI in the earlier scan's space, two decimals."""
    grid = np.linalg.inv(found.pair.matrix_earlier) @ earlier.scan.affine
    moved = resampling.resample(Volume(probability.numpy(), space.affine), grid, earlier.scan.voxels.shape)[0, 0]
    volume.write(path, Volume(np.round(moved.numpy(), 2).astype(np.float32), earlier.scan.affine))


def write_pictures(path: Path, found: Measured, probability: Tensor, space: PairSpace) -> None:
    """The slices for the report."""
    pictures.write(path, found.pair, found.residual, probability, space)
