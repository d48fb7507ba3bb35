"""The classical measures that a learned similarity has to beat."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.scoring import baselines


@pytest.fixture(scope="module")
def scans() -> tuple[np.ndarray, np.ndarray]:
    """Two unlike scans, 24^3, tissue at 1 in a ball, air at 0."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij")) - 11.5
    ball = np.linalg.norm(grid, axis=0) < 10
    one, other = (np.clip(1 + 0.3 * rng.standard_normal(ball.shape), 0.01, None) * ball for _ in range(2))
    return one.astype(np.float16), other.astype(np.float16)


def test_a_scan_with_itself_correlates_fully(scans: tuple[np.ndarray, np.ndarray]) -> None:
    found = baselines.scores(scans[0], scans[0])
    assert found["ncc"] == pytest.approx(1.0, abs=1e-6)
    assert found["ncc_highpass"] == pytest.approx(1.0, abs=1e-6)
    assert found["mutual_information"] == pytest.approx(np.log(baselines.BINS), abs=0.01)


def test_the_order_of_the_scans_does_not_matter(scans: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = baselines.scores(*scans), baselines.scores(*scans[::-1])
    assert one == pytest.approx(other, abs=1e-6)


def test_unlike_scans_score_lower_than_like_ones_in_every_measure(scans: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    again = (scans[0] + 0.1 * rng.standard_normal(scans[0].shape) * (scans[0] > 0)).clip(0.001).astype(np.float16)
    like, unlike = baselines.scores(scans[0], again), baselines.scores(*scans)
    assert all(like[name] > unlike[name] + 0.2 for name in baselines.BASELINES)


def test_a_contrast_curve_leaves_mutual_information_as_it_is(scans: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = scans
    curved = other.astype(np.float32) ** 2
    plain, warped = baselines.scores(one, other), baselines.scores(one, curved)
    assert warped["mutual_information"] == pytest.approx(plain["mutual_information"], abs=1e-3)


def test_a_smooth_bias_field_costs_the_plain_correlation_more_than_the_high_pass(
    scans: tuple[np.ndarray, np.ndarray],
) -> None:
    one = scans[0].astype(np.float32)
    biased = one * np.linspace(0.5, 2.0, 24, dtype=np.float32)[:, None, None]
    found = baselines.scores(one, biased)
    assert found["ncc_highpass"] > found["ncc"] + 0.05


def test_scans_that_share_no_tissue_score_nothing() -> None:
    left, right = np.zeros((2, 24, 24, 24), dtype=np.float16)
    left[:8], right[16:] = 1, 1
    assert baselines.scores(left, right) == dict.fromkeys(baselines.BASELINES, 0.0)
