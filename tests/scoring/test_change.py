"""What counts as change, what does not, and where it is drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from siamese_med import volume
from siamese_med.config import ScoreConfig
from siamese_med.phantom.head import GRID_MM, GRID_SHAPE
from siamese_med.phantom.scanner import Acquisition
from siamese_med.scoring import change, comparison
from siamese_med.scoring.change import TAIL, Finding, Reference
from siamese_med.scoring.comparison import Side
from siamese_med.scoring.overlay import PairSpace
from siamese_med.scoring.residual import Residual
from siamese_med.volume import Volume, centred_grid
from tests.scoring.conftest import BALL_ML, BALL_VOXEL

Judged = tuple[dict[str, Any], Any]


@pytest.fixture(scope="module")
def ball(sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig) -> Judged:
    """First visit against the visit with the ball."""
    return comparison.judge(sides["first"], sides["ball"], space, known, score_config)


def test_a_scan_has_not_changed_against_itself(
    sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig
) -> None:
    columns, measured = comparison.judge(sides["first"], sides["first"], space, known, score_config)
    assert (columns["change_z"], columns["change_p"]) == (0, 1)
    assert (columns["volume_ml"], columns["verdict"]) == (0, "no_change")
    assert measured is not None
    assert float(measured[1].max()) == 0
    assert comparison.measured(sides["first"], sides["first"], space, score_config).finding.figure == 0


def test_a_planted_ball_is_found_and_brighter(ball: Judged) -> None:
    columns, _ = ball
    assert columns["verdict"] == "changed"
    assert columns["change_p"] < 0.01
    assert columns["change_z"] > 3
    assert columns["change_sign"] == 1
    assert columns["smallest_detectable_ml"] is not None
    assert columns["smallest_detectable_ml"] < BALL_ML


def test_the_same_ball_in_the_earlier_scan_is_darker(
    sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig
) -> None:
    columns, _ = comparison.judge(sides["ball"], sides["first"], space, known, score_config)
    assert (columns["verdict"], columns["change_sign"]) == ("changed", -1)


def test_a_rescan_is_called_no_change(
    sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig
) -> None:
    columns, _ = comparison.judge(sides["first"], sides["rescan"], space, known, score_config)
    assert (columns["verdict"], columns["comparable"], columns["reasons"]) == ("no_change", True, [])


def test_the_map_is_highest_in_the_ball_at_the_right_place_of_the_earlier_scan(
    ball: Judged, sides: dict[str, Side], acquisitions: dict[str, Acquisition], space: PairSpace, tmp_path: Path
) -> None:
    found, probability = ball[1]
    comparison.write_map(tmp_path / "map.nii.gz", sides["first"], found, probability, space)
    written = volume.read(tmp_path / "map.nii.gz")
    scan = acquisitions["first"]
    assert written.voxels.shape == scan.volume.voxels.shape
    np.testing.assert_allclose(written.affine, scan.volume.affine, atol=1e-4)
    assert 0 <= written.voxels.min() <= written.voxels.max() <= 1
    grid = centred_grid(GRID_SHAPE, GRID_MM)
    to_voxel = np.linalg.inv(scan.to_anatomy @ scan.volume.affine)
    expected = to_voxel @ grid @ [*BALL_VOXEL, 1]
    brightest = np.argwhere(written.voxels >= written.voxels.max() - 1e-3)
    distance_mm = np.linalg.norm((brightest - expected[:3]) * scan.volume.spacing_mm, axis=1)
    radius_mm = (3 * BALL_ML * 1000 / (4 * np.pi)) ** (1 / 3)
    assert np.median(distance_mm) < radius_mm
    assert written.voxels[tuple(np.round(expected[:3]).astype(int))] > 0.9


def reference(*logs: float) -> Reference:
    return Reference("rescans", list(logs), [0.0] * len(TAIL), 0.02)


def test_z_and_p_follow_the_figure_against_the_reference() -> None:
    known = reference(1.0, 1.2, 0.8, 1.1, 0.9)
    assert known.z(math.exp(1.0)) == pytest.approx(0)
    assert known.p(math.exp(1.0)) == pytest.approx(0.5)
    assert known.z(math.exp(1.0 + 2 * known.sd)) == pytest.approx(2)
    values = [known.p(figure) for figure in np.geomspace(1, 20, 30)]
    assert values == sorted(values, reverse=True)


def test_few_reference_pairs_give_more_cautious_p_values() -> None:
    few, many = reference(0.9, 1.0, 1.1), reference(*[0.9, 1.0, 1.1] * 20)
    assert few.p(math.exp(1.3)) > 2 * many.p(math.exp(1.3))


def test_the_critical_figure_has_the_asked_significance() -> None:
    known = reference(1.0, 1.2, 0.8, 1.1, 0.9)
    assert known.p(known.critical_figure(0.05)) == pytest.approx(0.05)


def test_a_reference_survives_its_way_through_the_model_description() -> None:
    known = reference(1.0, 1.2, 0.8)
    assert change.from_json(known.as_json()) == known


def test_a_noisier_pair_can_detect_only_larger_change_or_none(space: PairSpace, known: Reference) -> None:
    found = [
        change.smallest_detectable_ml(Finding(3.0, 1, 0.02, scale, np.zeros(len(TAIL))), known, space, 2.0, 0.05)
        for scale in (0.005, 0.02, 0.04, 10.0)
    ]
    volumes = [math.inf if one is None else one for one in found]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[2]
    assert found[-1] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modality": "CT"}, "other_modality"),
        ({"contrast": "T1w"}, "other_contrast"),
        ({"aligned": False}, "alignment_failed"),
    ],
)
def test_what_cannot_be_compared_says_why_and_gets_no_verdict(
    sides: dict[str, Side],
    space: PairSpace,
    known: Reference,
    score_config: ScoreConfig,
    changes: dict[str, Any],
    reason: str,
) -> None:
    columns, _ = comparison.judge(sides["first"], replace(sides["rescan"], **changes), space, known, score_config)
    assert (columns["verdict"], columns["comparable"]) == ("not_comparable", False)
    assert reason in columns["reasons"]


def test_an_unknown_contrast_is_no_obstacle(sides: dict[str, Side]) -> None:
    assert comparison.obstacles(sides["first"], replace(sides["rescan"], contrast="unknown")) == []


def test_half_a_head_shares_too_little(
    sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig
) -> None:
    scan = sides["rescan"].scan
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (scan.voxels.shape[2] // 2)
    upper = Volume(scan.voxels[:, :, scan.voxels.shape[2] // 2 :], affine)
    columns, _ = comparison.judge(sides["first"], replace(sides["rescan"], scan=upper), space, known, score_config)
    assert "little_overlap" in columns["reasons"]


def test_noise_in_place_of_a_scan_is_no_aligned_pair(
    sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig
) -> None:
    scan = sides["rescan"].scan
    noise = np.random.default_rng(0).random(scan.voxels.shape, dtype=np.float32)
    columns, _ = comparison.judge(
        sides["first"], replace(sides["rescan"], scan=Volume(noise, scan.affine)), space, known, score_config
    )
    assert "pair_alignment_failed" in columns["reasons"]


def test_a_pair_much_noisier_than_the_reference_lies_outside_it(
    sides: dict[str, Side], space: PairSpace, known: Reference, score_config: ScoreConfig
) -> None:
    quiet = replace(known, noise_max=1e-4)
    columns, _ = comparison.judge(sides["first"], sides["rescan"], space, quiet, score_config)
    assert "outside_reference" in columns["reasons"]


def test_the_map_is_the_share_of_deviant_voxels_beyond_what_rescans_have() -> None:
    tail = np.zeros(len(TAIL))
    tail[:11] = np.linspace(1, 0, 11)
    finding = Finding(9.0, 1, 0.02, 0.02, np.maximum(tail, 0.1 * (TAIL < 10)))
    known = replace(reference(1.0, 1.1, 0.9), tail=tail.tolist())
    deviation = torch.tensor([[[0.0, 1.0, 6.0, -6.0, 6.0]]])
    inside = torch.tensor([[[True, True, True, True, False]]])
    found = change.probability_map(Residual(deviation, deviation, 0.02, 0.02), inside, finding, known)[0, 0]
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found[2] == found[3] > 0.95
    assert found[4] == 0
