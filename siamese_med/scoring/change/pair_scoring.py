"""Score the change of one pair of scans of one patient: from two scans to a change map, a p value and a verdict.

`score_pair` is the recipe, from top to bottom. Each step is one function of one module:

====  =============================================  =============================================================
Step  Function                                       Result
====  =============================================  =============================================================
1     `pair_registration.register_pair`              the scans a, b on one grid of voxels v, at one intensity scale
2     the detector of the model: `residual_detector  signed evidence e(v): smoothed b - a, divided by what noise and
      .detect_with_residual`, or another one of      misalignment explain; or e(v) as a network gives it
      `detectors`
3     `change_map.summarise_map`                     figure F = (sum |e|^8 x voxel volume)^(1/8);
                                                     level L = 95th percentile of |e|;
                                                     tail S(t) = share of voxels with |e| > t
4     `noise_floor.NoChangeReference.expected_tail`  N(t): S(t) of unchanged pairs, scaled to the level L
5     `change_map.compute_probability_map`           map P(v) = 1 - min of min(1, N(t) / S(t)) over t <= |e(v)|
6     `thresholds.MIN_CHANGE_PROBABILITY`            changed tissue: P >= 0.95; its volume is `volume_ml`
7     `components.find_components`                   its connected parts: place, kind and p of each; and further
                                                     places to look at (`change_map.find_candidates`)
8     `write_change_map`                             P as NIfTI on the voxels of the earlier scan
====  =============================================  =============================================================

The verdict comes from the figure, not from the map. `NoChangeReference.p` compares log F with that of unchanged pairs
(Student's t): those of the model or, where it has none of this kind, simulated rescans of the pair's own two scans. The
rescans of a scan serve all its pairs, see `simulated_rescans`. The same is done with local growth, which
`boundary_shift.measure_boundary_shift` measures beside every detector. `combine_p_values` joins the two (a weighted
Bonferroni), and `apply_multiple_testing` corrects for all pairs that end with this visit (Hommel). Where that p is not
below the significance, `detectability` decides between `no_change` and `uncertain`. `comparability` decides whether a
pair may get a verdict at all.

References
----------
Step 1: correlation ratio, Roche et al., MICCAI 1998. Step 5: P is one minus the tail-area false-discovery rate,
Benjamini and Hochberg, J R Stat Soc B, 1995; Genovese et al., NeuroImage, 2002, for brain maps. Growth: Freeborough and
Fox, IEEE Trans Med Imaging, 1997. Multiple testing: Hommel, Biometrika, 1988. The exponent 8 is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change import (
    change_map,
    comparability,
    components,
    detectability,
    multiple_testing,
    pair_measurement,
    pair_slices,
    simulated_rescans,
)
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import SAME_SCANNER, NoChangeReference, NoiseFloor, NoiseStratum
from siamese_med.scoring.change.pair_measurement import PairMeasurement
from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace, RegisteredPair
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.change.simulated_rescans import RescanSource
from siamese_med.study.component import Component
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import MeasuredPair, PairScore, ReferencePairs
from siamese_med.study.thresholds import EVIDENCE_WEIGHT, MAX_CANDIDATE_P, MIN_CHANGE_PROBABILITY
from siamese_med.study.vocabulary import ComponentKind, NotComparable, Verdict


@dataclass(frozen=True)
class CalibratedDetector:
    """The change detector of a model, with the noise floors of its evidence (`floor`) and of local growth.

    Where the floors lack a pair, `rescans` gives the simulated rescans of each of its scans.
    """

    detector: ChangeDetector
    floor: NoiseFloor
    growth: NoiseFloor
    rescans: RescanSource = simulated_rescans.measure_rescans

    def find_references(self, stratum: NoiseStratum) -> tuple[NoChangeReference, NoChangeReference] | None:
        """Return the model's unchanged pairs of a stratum, for evidence and for growth; None where it lacks either."""
        known, grown = self.floor.of(stratum), self.growth.of(stratum)
        return (known, grown) if known and grown else None


def score_pair(
    earlier: PairScan, later: PairScan, instrument: CalibratedDetector, config: ScoreConfig
) -> tuple[MeasuredPair, tuple[PairMeasurement, Tensor] | None]:
    """Measure the change of one pair of one patient. The steps are those of the table at the top of this module.

    The two scans are measured in an order that their content decides, so to exchange them changes nothing but signs.

    Returns
    -------
    pair
        Its score without a verdict, which depends on the patient's other pairs, see `apply_multiple_testing`.
    measured
        The measurement and the change map (i, j, k), float32, 0 to 1; None if the pair could not be measured.
    """
    if reasons := comparability.reasons_before_measuring(earlier, later):
        return _unmeasured(reasons), None
    ordered, turned = pair_measurement.put_in_fixed_order(earlier, later)
    measured = pair_measurement.measure_pair(*ordered, config.spacing_mm, instrument.detector)  # steps 1 to 3
    found = measured.swap() if turned else measured
    pair, evidence, finding = found.pair, found.evidence, found.finding
    stratum = pair_measurement.find_pair_stratum(earlier, later)
    known, grown = _choose_references(ordered, stratum, finding, instrument, config.spacing_mm)
    reasons = comparability.reasons_after_measuring(pair.quality, pair.overlap, finding.noise, known.noise_max, config)
    tail = known.expected_tail(finding)  # step 4
    probability = change_map.compute_probability_map(evidence, pair.inside, finding, tail)  # step 5
    changed = probability >= MIN_CHANGE_PROBABILITY  # step 6
    parts = _list_parts(found, known, changed, earlier)  # step 7
    score = PairScore(
        comparable=not reasons,
        reasons=reasons,
        change_z=max(known.z(finding), grown.z(found.growth)),
        change_p=combine_p_values(known.p(finding), grown.p(found.growth)),
        change_sign=finding.sign,
        volume_ml=int(changed.sum()) * pair.space.voxel_ml,
        growth_ml=round(found.expansion.ml, 4),
        growth_p=grown.p(found.growth),
        components=tuple(parts),
        reference=ReferencePairs(stratum.words, known.source, len(known.figures)),
        verdict=Verdict.NOT_COMPARABLE,
        pair_quality=round(pair.quality, 4),
        transform=_get_transform(pair),
    )
    curve = [] if reasons else _detection_curve(measured, ordered[1], known, instrument.detector)
    return MeasuredPair(score, detection_curve=tuple(curve)), (found, probability)


def _choose_references(
    ordered: tuple[PairScan, PairScan],
    stratum: NoiseStratum,
    finding: MapSummary,
    instrument: CalibratedDetector,
    spacing_mm: float,
) -> tuple[NoChangeReference, NoChangeReference]:
    """The unchanged pairs that a pair is compared with, for the evidence and for local growth.

    They are the model's pairs of the stratum, or simulated rescans of the pair's own scans where the model has none, or
    only such as are much less noisy.
    """
    known = instrument.find_references(stratum)
    if known and not comparability.is_noisier(finding.noise, known[0].noise_max):
        return known
    same_scanner = stratum.scanner == SAME_SCANNER
    first, second = (instrument.rescans(one, same_scanner, spacing_mm, instrument.detector) for one in ordered)
    return simulated_rescans.build_own_references(first, second)


def combine_p_values(evidence: float, growth: float) -> float:
    """Combine the p values of the two tests of one pair, see EVIDENCE_WEIGHT (weighted Bonferroni). At most 1.

    Examples
    --------
    >>> combine_p_values(0.014, 0.4)
    0.02
    """
    return min(1.0, evidence / EVIDENCE_WEIGHT, growth / (1 - EVIDENCE_WEIGHT))


def apply_multiple_testing(pairs: Sequence[MeasuredPair], config: ScoreConfig) -> list[PairScore]:
    """Give the verdicts on one visit of a patient: p of its pairs, adjusted for their number (Hommel, 1988).

    A patient's verdict rests on the pairs that end with the newest visit, so one in twenty patients without any change
    is called changed. Pairs of earlier visits are not counted: a reader has looked at them before, and a verdict stays
    when a later visit comes.

    Parameters
    ----------
    pairs
        Every measured pair, of any contrast, whose later scan is of this visit. Those that are not comparable are not
        counted.
    config
        Its `significance` is the limit of the adjusted p.

    Returns
    -------
    list[PairScore]
        In the same order, with `change_p_adjusted`, `verdict` and `smallest_detectable_ml` set where comparable.
        `changed` if the adjusted p is below the significance. Else `no_change` if a planted change would have been
        seen, and `uncertain` if not even the largest one would: then that no change was found says nothing.
    """
    scores = [pair.score for pair in pairs]
    judged = {n: one.change_p for n, one in enumerate(scores) if one.comparable and one.change_p is not None}
    adjusted = dict(zip(judged, multiple_testing.adjust_hommel(list(judged.values())), strict=True))
    return [_conclude_pair(pair, adjusted.get(number), len(judged), config) for number, pair in enumerate(pairs)]


def _conclude_pair(pair: MeasuredPair, p: float | None, looked_at: int, config: ScoreConfig) -> PairScore:
    """Give the verdict of one of `looked_at` pairs; none where it has no adjusted `p`."""
    parts = tuple(components.mark_chance_component(part, config.significance) for part in pair.score.components)
    sure_ml = [part.volume_ml or 0.0 for part in parts if part.kind != ComponentKind.MAY_BE_CHANCE]
    beyond_ml = None if pair.score.volume_ml is None else round(sum(sure_ml), 4)
    score = replace(pair.score, components=parts, beyond_rescan_ml=beyond_ml)
    if p is None:
        return score
    detectable_ml = detectability.find_smallest_detectable_ml(pair.detection_curve, config.significance / looked_at)
    unchanged = Verdict.UNCERTAIN if detectable_ml is None else Verdict.NO_CHANGE
    return replace(
        score,
        change_p_adjusted=p,
        verdict=Verdict.CHANGED if p < config.significance else unchanged,
        smallest_detectable_ml=detectable_ml,
    )


def _unmeasured(reasons: Sequence[NotComparable]) -> MeasuredPair:
    return MeasuredPair(PairScore(comparable=False, reasons=tuple(reasons), verdict=Verdict.NOT_COMPARABLE))


def _get_transform(pair: RegisteredPair) -> tuple[tuple[float, ...], ...]:
    """The rows of the matrix (4x4) from the earlier scan's mm to the later one's."""
    matrix = (pair.matrix_later @ np.linalg.inv(pair.matrix_earlier)).round(6)
    return tuple(tuple(row) for row in matrix.tolist())


def _list_parts(
    found: PairMeasurement, known: NoChangeReference, changed: Tensor, earlier: PairScan
) -> list[Component]:
    """List the parts of the changed tissue, and further places to look at."""
    pair, evidence, finding = found.pair, found.evidence, found.finding
    others = change_map.find_candidates(evidence, pair.inside, changed, known.find_figure(finding, MAX_CANDIDATE_P))
    chance = _part_p(finding, known, pair.space)
    return components.find_components(pair, evidence, changed | others, chance, earlier.to_template, earlier.structures)


def _part_p(finding: MapSummary, known: NoChangeReference, space: PairSpace) -> Callable[[Tensor], float]:
    """From the evidence of one part of a map, 0 elsewhere, to the chance that a rescan's whole map is as strong."""
    return lambda part: known.p(finding, change_map.compute_q_norm(part, space))


def _detection_curve(
    found: PairMeasurement, later: PairScan, known: NoChangeReference, detector: ChangeDetector
) -> list[tuple[float, float]]:
    space = found.pair.space

    def p(before: Tensor, after: Tensor) -> list[float]:
        """The p of an unchanged pair in which the evidence at one place is replaced by that after planting."""
        shares = (
            place.double().abs().pow(change_map.NORM_EXPONENT).sum((1, 2, 3)) * space.voxel_ml
            for place in (after, before)
        )
        gained = torch.sub(*shares) + quiet**change_map.NORM_EXPONENT
        figures = gained.clamp(min=0).pow(1 / change_map.NORM_EXPONENT).tolist()
        return [combine_p_values(known.p(found.finding, figure), 1.0) for figure in figures]

    # the figure of this pair without change: with a real change in it, every planted one would seem detected
    quiet = min(found.finding.figure, math.exp(known.expected(found.finding)))
    softness = detectability.compute_blur_sd_mm(later.scan.affine, found.pair.matrix_later)
    return detectability.measure_detection_curve(found.pair, detector, space.spacing_mm, softness, p)


def place_change_map(earlier: PairScan, found: PairMeasurement, probability: Tensor) -> Volume:
    """Return the change map of `score_pair` on the voxels of the earlier scan, float32 (i, j, k) with two decimals.

    The map (`probability`, on the grid of the pair) is resampled to the nearest voxel, so `volume_ml` can be counted in
    it: voxels of at least 0.95. For that, decimals are rounded down, and what is stored is not below the two decimals.
    """
    grid = np.linalg.inv(found.pair.matrix_earlier) @ earlier.scan.affine
    drawn = Volume(probability.numpy(), found.pair.space.affine)
    moved = resampling.resample_volume(drawn, grid, earlier.scan.voxels.shape, nearest=True)[0, 0]
    lower = np.floor(100 * moved.numpy().astype(np.float64) + 1e-4) / 100
    stored = lower.astype(np.float32)
    return Volume(np.where(stored < lower, np.nextafter(stored, np.float32(2)), stored), earlier.scan.affine)


def write_change_map(path: Path, earlier: PairScan, found: PairMeasurement, probability: Tensor) -> None:
    """Write the map of `place_change_map` as NIfTI. `path` ends in .nii or .nii.gz, and is replaced as a whole."""
    volume.write_volume(path, place_change_map(earlier, found, probability))


def write_pictures(
    path: Path, sides: tuple[PairScan, PairScan], score: PairScore, found: PairMeasurement, probability: Tensor
) -> None:
    """Write the slices that the report shows of a pair, see `pair_slices.write_pair_slices`."""
    scans = sides[0].scan, sides[1].scan
    pair_slices.write_pair_slices(path, found.pair, scans, found.evidence, probability, score.components)
