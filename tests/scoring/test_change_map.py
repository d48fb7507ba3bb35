"""What counts as change, what does not, and where it is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring import score_table
from siamese_med.scoring.change import change_map, comparability, pair_measurement, pair_scoring, simulated_rescans
from siamese_med.scoring.change.change_map import TAIL_THRESHOLDS, MapSummary
from siamese_med.scoring.change.noise_floor import NoiseFloor
from siamese_med.scoring.change.pair_measurement import PairMeasurement
from siamese_med.scoring.change.pair_registration import ChangeDetector, PairSpace
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.change.simulated_rescans import RESCANS_PER_SCAN
from siamese_med.simulation.mni_head import HEAD_GRID_MM, HEAD_GRID_SHAPE
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.component import Component
from siamese_med.study.config import ScoreConfig
from siamese_med.study.pair_score import MeasuredPair, PairScore, ReferencePairs
from siamese_med.study.thresholds import MIN_CHANGE_PROBABILITY
from siamese_med.study.vocabulary import Verdict
from tests.scoring.conftest import BALL_ML, BALL_VOXEL

Judged = tuple[PairScore, Any]


def judged(earlier: PairScan, later: PairScan, instrument: CalibratedDetector, config: ScoreConfig) -> Judged:
    """The score of a patient's only pair, and what was measured."""
    pair, measured = pair_scoring.score_pair(earlier, later, instrument, config)
    return pair_scoring.apply_multiple_testing([pair], config)[0], measured


@pytest.fixture(scope="module")
def ball(sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig) -> Judged:
    """First visit against the visit with the ball."""
    return judged(sides["first"], sides["ball"], instrument, score_config)


def test_a_scan_has_not_changed_against_itself(
    sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    columns, measured = judged(sides["first"], sides["first"], instrument, score_config)
    assert (columns.change_z, columns.change_p, columns.change_p_adjusted) == (0, 1, 1)
    assert (columns.volume_ml, columns.components, columns.verdict) == (0, (), "no_change")
    assert measured[0].finding.figure == 0
    assert float(measured[1].max()) == 0


def test_a_planted_ball_is_found_and_brighter(ball: Judged) -> None:
    columns, _ = ball
    assert columns.verdict == "changed"
    assert columns.change_p == columns.change_p_adjusted < 0.01
    assert columns.change_z > 3
    assert columns.change_sign == 1
    assert columns.smallest_detectable_ml is not None
    assert 0.1 < columns.smallest_detectable_ml < BALL_ML  # what is there already must not help a smaller one
    assert columns.reference == ReferencePairs("MR FLAIR, other scanner", "synthesised", 5)


def test_the_ball_is_the_strongest_component_new_and_at_its_place(
    ball: Judged, sides: dict[str, PairScan], acquisitions: dict[str, Acquisition]
) -> None:
    strongest = ball[0].components[0]
    assert (strongest.kind, strongest.sign) == ("new", 1)
    assert BALL_ML / 3 < strongest.volume_ml < 2 * BALL_ML
    there = acquisitions["first"]
    expected = np.linalg.inv(there.to_anatomy) @ make_centred_affine(HEAD_GRID_SHAPE, HEAD_GRID_MM) @ [*BALL_VOXEL, 1]
    np.testing.assert_allclose(strongest.earlier_mm, expected[:3], atol=5)
    assert sides["first"].to_template is not None
    template_mm = sides["first"].to_template @ expected
    np.testing.assert_allclose(strongest.position_mm, template_mm[:3], atol=5)


def test_the_transform_leads_from_the_earlier_scans_mm_to_the_later_ones(
    ball: Judged, acquisitions: dict[str, Acquisition]
) -> None:
    first, later = acquisitions["first"], acquisitions["ball"]
    points = np.array([[0, 0, 0, 1], [50, 0, 0, 1], [0, -60, 30, 1], [-40, 20, 40, 1]]).T
    expected = np.linalg.inv(later.to_anatomy) @ first.to_anatomy @ points
    assert np.abs(expected - points).max() > 2  # the head lay otherwise
    np.testing.assert_allclose(np.array(ball[0].transform) @ points, expected, atol=1)


def test_the_same_ball_in_the_earlier_scan_is_darker_and_has_vanished(
    sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    columns, _ = judged(sides["ball"], sides["first"], instrument, score_config)
    assert (columns.verdict, columns.change_sign) == ("changed", -1)
    assert (columns.components[0].kind, columns.components[0].sign) == ("vanished", -1)


def test_exchanging_the_scans_changes_nothing_but_signs(
    ball: Judged, sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    forth, (back, _) = ball[0], judged(sides["ball"], sides["first"], instrument, score_config)
    names = ("change_z", "change_p", "volume_ml", "growth_p", "smallest_detectable_ml", "pair_quality", "verdict")
    assert [getattr(back, name) for name in names] == [getattr(forth, name) for name in names]
    assert (back.change_sign, back.growth_ml) == (-(forth.change_sign or 0), -(forth.growth_ml or 0))
    np.testing.assert_allclose(np.array(back.transform) @ np.array(forth.transform), np.eye(4), atol=1e-4)


def test_a_pair_is_compared_although_neither_scan_is_placed_on_the_template(
    ball: Judged, sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    lost = [replace(sides[name], to_template=None) for name in ("first", "ball")]
    columns, _ = judged(lost[0], lost[1], instrument, score_config)
    assert (columns.change_p, columns.verdict) == (ball[0].change_p, "changed")
    assert columns.components[0].earlier_mm == ball[0].components[0].earlier_mm
    assert columns.components[0].position_mm == (None, None, None)


def test_a_rescan_is_called_no_change(
    sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    columns, _ = judged(sides["first"], sides["rescan"], instrument, score_config)
    assert (columns.verdict, columns.comparable, columns.reasons) == ("no_change", True, ())
    assert {part.kind for part in columns.components} <= {"may_be_chance"}


def test_the_map_is_highest_in_the_ball_at_the_right_place_of_the_earlier_scan(
    ball: Judged, sides: dict[str, PairScan], acquisitions: dict[str, Acquisition], tmp_path: Path
) -> None:
    found, probability = ball[1]
    pair_scoring.write_change_map(tmp_path / "map.nii.gz", sides["first"], found, probability)
    written = volume.read_volume(tmp_path / "map.nii.gz")
    scan = acquisitions["first"]
    assert written.voxels.shape == scan.volume.voxels.shape
    np.testing.assert_allclose(written.affine, scan.volume.affine, atol=1e-4)
    assert 0 <= written.voxels.min() <= written.voxels.max() <= 1
    grid = make_centred_affine(HEAD_GRID_SHAPE, HEAD_GRID_MM)
    to_voxel = np.linalg.inv(scan.to_anatomy @ scan.volume.affine)
    expected = to_voxel @ grid @ [*BALL_VOXEL, 1]
    brightest = np.argwhere(written.voxels >= written.voxels.max() - 1e-3)
    distance_mm = np.linalg.norm((brightest - expected[:3]) * scan.volume.spacing_mm, axis=1)
    radius_mm = (3 * BALL_ML * 1000 / (4 * np.pi)) ** (1 / 3)
    assert np.median(distance_mm) < radius_mm
    assert written.voxels[tuple(np.round(expected[:3]).astype(int))] > 0.9
    over_ml = (written.voxels.astype(np.float64) >= MIN_CHANGE_PROBABILITY).sum() * scan.volume.spacing_mm.prod() / 1000
    assert 0.8 < over_ml / ball[0].volume_ml < 1.25


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modality": "CT"}, "other_modality"),
        ({"contrast": "T1w"}, "other_contrast"),
    ],
)
def test_what_cannot_be_compared_says_why_and_gets_no_verdict(
    sides: dict[str, PairScan],
    instrument: CalibratedDetector,
    score_config: ScoreConfig,
    changes: dict[str, Any],
    reason: str,
) -> None:
    columns, _ = judged(sides["first"], replace(sides["rescan"], **changes), instrument, score_config)
    assert (columns.verdict, columns.comparable) == ("not_comparable", False)
    assert reason in columns.reasons


@pytest.fixture
def coarse(score_config: ScoreConfig) -> ScoreConfig:
    """Half as many voxels: for pairs that are held against rescans of their own scans, each measured anew."""
    return score_config.model_copy(update={"spacing_mm": 4.0})


@pytest.fixture
def few_rescans(monkeypatch: pytest.MonkeyPatch) -> int:
    """Fewer rescans of a pair's own scans than usual, where their number does not matter."""
    monkeypatch.setattr(simulated_rescans, "RESCANS_PER_SCAN", 2)
    return 4


@pytest.mark.parametrize(
    ("later", "verdict"), [pytest.param("rescan", "no_change", marks=pytest.mark.long), ("ball", "changed")]
)
def test_a_contrast_without_a_reference_is_held_against_rescans_of_its_own_scans(
    sides: dict[str, PairScan], instrument: CalibratedDetector, coarse: ScoreConfig, later: str, verdict: str
) -> None:
    unseen = [replace(sides[name], contrast="T2w") for name in ("first", later)]
    columns, _ = judged(unseen[0], unseen[1], instrument, coarse)
    assert (columns.verdict, columns.reasons) == (verdict, ())
    assert columns.reference == ReferencePairs("MR T2w, other scanner", "own", 2 * RESCANS_PER_SCAN)


@pytest.mark.long
def test_rescans_of_the_own_scans_do_not_depend_on_the_order(
    sides: dict[str, PairScan], instrument: CalibratedDetector, coarse: ScoreConfig, few_rescans: int
) -> None:
    alike = [replace(sides[name], scanner="scanner-1") for name in ("first", "ball")]
    forth, back = (judged(*pair, instrument, coarse)[0] for pair in (alike, alike[::-1]))
    assert forth.reference == ReferencePairs("MR FLAIR, same scanner", "own", few_rescans)
    assert (forth.change_z, forth.change_p) == (back.change_z, back.change_p)


def test_an_unknown_contrast_is_taken_for_that_of_the_other_scan(
    sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    columns, _ = judged(sides["first"], replace(sides["rescan"], contrast="unknown"), instrument, score_config)
    assert columns.verdict == "no_change"
    assert columns.reference == ReferencePairs("MR FLAIR, other scanner", "synthesised", 5)


def test_half_a_head_shares_too_little(
    sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    scan = sides["rescan"].scan
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (scan.voxels.shape[2] // 2)
    upper = Volume(scan.voxels[:, :, scan.voxels.shape[2] // 2 :], affine)
    columns, _ = judged(sides["first"], replace(sides["rescan"], scan=upper), instrument, score_config)
    assert "little_overlap" in columns.reasons


@pytest.mark.long
def test_noise_in_place_of_a_scan_is_no_aligned_pair(
    sides: dict[str, PairScan], instrument: CalibratedDetector, score_config: ScoreConfig
) -> None:
    scan = sides["rescan"].scan
    noise = Volume(np.random.default_rng(0).random(scan.voxels.shape, dtype=np.float32), scan.affine)
    columns, _ = judged(sides["first"], replace(sides["rescan"], scan=noise), instrument, score_config)
    assert "pair_alignment_failed" in columns.reasons


@pytest.mark.long
def test_a_pair_much_noisier_than_the_reference_is_held_against_its_own_rescans(
    sides: dict[str, PairScan], instrument: CalibratedDetector, coarse: ScoreConfig, few_rescans: int
) -> None:
    quiet = NoiseFloor({where: replace(one, noise_max=1e-4) for where, one in instrument.floor.references.items()})
    too_quiet = CalibratedDetector(instrument.detector, quiet, instrument.growth)
    columns, _ = judged(sides["first"], sides["rescan"], too_quiet, coarse)
    assert columns.comparable
    assert columns.reference == ReferencePairs("MR FLAIR, other scanner", "own", few_rescans)


def test_a_pair_noisier_than_all_rescans_lies_outside_the_reference(score_config: ScoreConfig) -> None:
    reasons = comparability.reasons_after_measuring(1.0, 1.0, noise=0.05, noise_max=0.02, config=score_config)
    assert reasons == ("outside_reference",)
    assert not comparability.reasons_after_measuring(1.0, 1.0, noise=0.03, noise_max=0.02, config=score_config)


def test_several_looks_at_a_patient_take_the_verdict_from_a_faint_change(score_config: ScoreConfig) -> None:
    def pair(p: float, comparable: bool = True) -> MeasuredPair:
        score = PairScore(comparable=comparable, change_p=p, verdict=Verdict.NOT_COMPARABLE)
        return MeasuredPair(score, detection_curve=((0.5, 0.03), (1.0, 0.012)))

    alone = pair_scoring.apply_multiple_testing([pair(0.03), pair(0.001, comparable=False)], score_config)
    assert [columns.verdict for columns in alone] == ["changed", "not_comparable"]
    assert alone[0].smallest_detectable_ml == 0.5
    among = pair_scoring.apply_multiple_testing([pair(0.03), pair(0.6), pair(0.001)], score_config)
    assert [columns.verdict for columns in among] == ["no_change", "no_change", "changed"]
    assert [round(columns.change_p_adjusted or 0, 6) for columns in among] == [0.06, 0.6, 0.003]
    assert 0.5 < (among[0].smallest_detectable_ml or 0) < 1.0


def test_verdicts_on_a_visit_stay_when_a_later_one_comes(score_config: ScoreConfig) -> None:
    scans = [SimpleNamespace(session=f"ses-{n:02d}") for n in range(4)]
    p = {(0, 1): 0.03, (0, 2): 0.04, (1, 2): 0.6, (0, 3): 0.001, (1, 3): 0.02, (2, 3): 0.3}
    before: list[PairScore] = []
    for visits in (2, 3, 4):
        known = [pair for pair in p if pair[1] < visits]
        jobs = [
            cast("score_table.PairJob", SimpleNamespace(same_patient=True, subject="sub-1", later=scans[later]))
            for _, later in known
        ]
        measured = [
            MeasuredPair(PairScore(comparable=True, change_p=p[pair], verdict=Verdict.NOT_COMPARABLE)) for pair in known
        ]
        found = score_table.add_verdicts(jobs, measured, score_config)
        assert found[: len(before)] == before
        before = found
    assert [one.change_p_adjusted for one in before] == pytest.approx([0.03, 0.08, 0.6, 0.003, 0.04, 0.3])


@pytest.mark.parametrize(
    ("p", "curve", "verdict"),
    [
        (0.6, ((4.0, 0.3), (8.0, 0.051)), "uncertain"),
        (0.6, ((4.0, 0.3), (8.0, 0.05)), "uncertain"),  # a limit that is reached is not passed
        (0.6, ((4.0, 0.3), (8.0, 0.049)), "no_change"),
        (0.6, (), "uncertain"),  # no bright tissue to plant a change in
        (0.05, ((8.0, 0.3),), "uncertain"),
        (0.049, ((8.0, 0.3),), "changed"),
        (0.049, (), "changed"),
    ],
)
def test_a_pair_without_change_is_called_so_only_where_a_large_one_would_have_been_seen(
    score_config: ScoreConfig, p: float, curve: tuple[tuple[float, float], ...], verdict: str
) -> None:
    score = PairScore(comparable=True, change_p=p, verdict=Verdict.NOT_COMPARABLE)
    (columns,) = pair_scoring.apply_multiple_testing([MeasuredPair(score, detection_curve=curve)], score_config)
    assert columns.verdict == verdict
    assert (columns.smallest_detectable_ml is None) == (not curve or curve[-1][1] >= 0.05)


def test_more_looks_at_a_patient_make_a_pair_uncertain(score_config: ScoreConfig) -> None:
    score = PairScore(comparable=True, change_p=0.6, verdict=Verdict.NOT_COMPARABLE)
    pair = MeasuredPair(score, detection_curve=((4.0, 0.3), (8.0, 0.03)))
    for looks, verdict in ((1, "no_change"), (2, "uncertain")):
        found = pair_scoring.apply_multiple_testing([pair] * looks, score_config)
        assert [columns.verdict for columns in found] == [verdict] * looks


def test_a_pair_that_cannot_be_compared_is_not_called_uncertain(score_config: ScoreConfig) -> None:
    score = PairScore(comparable=False, change_p=0.6, verdict=Verdict.NOT_COMPARABLE)
    (columns,) = pair_scoring.apply_multiple_testing([MeasuredPair(score)], score_config)
    assert columns.verdict == "not_comparable"


def test_a_part_that_a_rescan_might_show_does_not_count_beyond_a_rescan(score_config: ScoreConfig) -> None:
    parts = [
        Component("new", volume_ml, 1, p, (), ())
        for volume_ml, p in ((1.2, 0.001), (0.3, 0.04), (9.0, 0.98), (2.0, 0.06))
    ]
    score = PairScore(
        comparable=True, verdict=Verdict.NOT_COMPARABLE, change_p=0.01, volume_ml=12.5, components=tuple(parts)
    )
    (columns,) = pair_scoring.apply_multiple_testing([MeasuredPair(score)], score_config)
    assert columns.beyond_rescan_ml == pytest.approx(1.5)
    (columns,) = pair_scoring.apply_multiple_testing([MeasuredPair(replace(score, components=()))], score_config)
    assert columns.beyond_rescan_ml == 0


def test_swapping_the_scans_of_a_laid_pair_changes_the_sign_alone(
    sides: dict[str, PairScan], score_config: ScoreConfig, plain: ChangeDetector
) -> None:
    forth = pair_measurement.measure_pair(sides["first"], sides["ball"], score_config.spacing_mm, plain)
    swapped = forth.pair.swap()
    evidence = plain(swapped, score_config.spacing_mm)
    torch.testing.assert_close(evidence, -forth.evidence, rtol=0, atol=1e-6)
    back = change_map.summarise_map(evidence, swapped)
    assert back.figure == pytest.approx(forth.finding.figure, rel=1e-6)
    assert back.sign == -forth.finding.sign


def test_the_figure_grows_with_extent_and_with_strength() -> None:
    shape = (12, 12, 12)
    space = PairSpace(np.diag([3.0, 3.0, 3.0, 1.0]), np.ones(shape, dtype=bool))
    small, large, strong = (torch.zeros(shape) for _ in range(3))
    small[5:7, 5:7, 5:7] = 6
    large[5:9, 5:9, 5:9] = -6
    strong[5:7, 5:7, 5:7] = 12
    figures = [change_map.compute_q_norm(evidence, space) for evidence in (small, large, strong)]
    assert figures[0] < figures[1] < figures[2]
    assert figures[2] == pytest.approx(2 * figures[0])
    assert figures[1] == pytest.approx(8 ** (1 / change_map.NORM_EXPONENT) * figures[0])


def test_the_map_is_the_share_of_voxels_beyond_what_rescans_have() -> None:
    tail = np.zeros(len(TAIL_THRESHOLDS))
    tail[:11] = np.linspace(1, 0, 11)
    finding = MapSummary(9.0, 1, 1.0, 0.02, np.maximum(tail, 0.1 * (TAIL_THRESHOLDS < 10)))
    evidence = torch.tensor([[[0.0, 1.0, 6.0, -6.0, 6.0]]])
    inside = torch.tensor([[[True, True, True, True, False]]])
    found = change_map.compute_probability_map(evidence, inside, finding, tail)[0, 0]
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found[2] == found[3] > 0.95
    assert found[4] == 0


def test_the_figure_lies_over_the_maps_own_level(ball: Judged) -> None:
    measured: PairMeasurement = ball[1][0]
    assert measured.finding.figure > measured.finding.level > 0
    assert 0 < measured.finding.noise < 0.2
