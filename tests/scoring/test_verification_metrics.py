"""The figures by hand on tiny matrices, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from siamese_med.errors import NotEnoughDataError
from siamese_med.scoring.identity import verification_metrics

SAME = np.array([True, True, True, True, False, False, False, False])


def figures(score: list[float], same: np.ndarray = SAME) -> tuple[np.ndarray, np.ndarray]:
    return verification_metrics.compute_roc(np.array(score), same)


def test_the_equal_error_rate_of_separated_scores_is_zero_and_of_one_swap_in_four_a_quarter() -> None:
    assert verification_metrics.equal_error_rate(*figures([9, 8, 7, 6, 4, 3, 2, 1])) == 0
    assert verification_metrics.equal_error_rate(*figures([9, 8, 7, 4, 6, 3, 2, 1])) == pytest.approx(0.25)
    assert verification_metrics.equal_error_rate(*figures([1, 2, 3, 4, 6, 7, 8, 9])) == pytest.approx(1.0)


def test_the_true_accept_rate_is_that_before_the_first_false_accept_when_none_is_allowed() -> None:
    curve = figures([9, 8, 5, 4, 7, 3, 2, 1])
    assert verification_metrics.tar_at_far(*curve, 0.01) == 0.5
    assert verification_metrics.tar_at_far(*curve, 0.25) == 1.0
    assert verification_metrics.tar_at_far(*figures([1, 2, 3, 4, 9, 8, 7, 6]), 0.01) == 0.0


def test_rank_one_asks_only_patients_with_a_second_scan_and_never_finds_the_scan_itself() -> None:
    subjects = ["a", "a", "b", "b", "c"]
    scores = np.full((5, 5), 0.1)
    np.fill_diagonal(scores, 99.0)
    scores[0, 1] = scores[1, 0] = 0.9  # both scans of a find each other
    scores[2, 4] = scores[4, 2] = 0.9  # one of b is taken for c
    scores[3, 2] = scores[2, 3] = 0.8
    assert verification_metrics.rank_one_rate(scores, subjects, np.ones(5)) == pytest.approx(3 / 4)


def test_the_figures_of_a_matrix_are_those_of_its_pairs() -> None:
    subjects = ["a", "a", "b", "b"]
    matrix = np.array([[0, 9, 1, 2], [9, 0, 3, 8], [1, 3, 0, 7], [2, 8, 7, 0]], dtype=float)
    found = verification_metrics.compute_verification(matrix, subjects)
    first, second = np.triu_indices(4, 1)
    same = np.array(subjects)[first] == np.array(subjects)[second]
    assert found["auc"] == pytest.approx(roc_auc_score(same, matrix[first, second]))
    assert found["auc"] == pytest.approx(7 / 8)
    assert found["rank1"] == 0.75
    assert found["tar_at_far_1pct"] == 0.5


def test_the_weighted_auc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    score, same, weight = rng.normal(size=200), rng.random(200) < 0.3, rng.integers(1, 4, 200).astype(float)
    false_accepts, true_accepts = verification_metrics.compute_roc(score + same, same, weight)
    expected = roc_auc_score(same, score + same, sample_weight=weight)
    assert np.trapezoid(true_accepts, false_accepts) == pytest.approx(expected)


def test_a_patient_drawn_twice_weighs_like_two_patients() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(6, 6))
    matrix += matrix.T
    subjects = ["a", "a", "b", "b", "c", "c"]
    weight = np.array([2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    twice = [0, 1, 0, 1, 2, 3, 4, 5]
    names = np.array(["a", "a", "A", "A", "b", "b", "c", "c"])
    first, second = np.triu_indices(8, 1)
    apart = ~np.isin(np.stack([first, second]), [0, 1, 2, 3]).all(0) | (names[first] == names[second])
    doubled = matrix[np.ix_(twice, twice)][first, second][apart]
    expected = roc_auc_score((names[first] == names[second])[apart], doubled)
    assert verification_metrics.compute_verification(matrix, subjects, weight)["auc"] == pytest.approx(expected)


@pytest.fixture(scope="module")
def cohort() -> tuple[np.ndarray, list[str]]:
    """Scores of 16 patients with two scans each; same-patient pairs lie two standard deviations higher."""
    rng = np.random.default_rng(2)
    subjects = [f"sub-{number // 2}" for number in range(32)]
    matrix = rng.normal(size=(32, 32))
    matrix = (matrix + matrix.T) / np.sqrt(2)
    names = np.array(subjects)
    return matrix + 2 * (names[:, None] == names), subjects


def test_every_interval_contains_its_figure_and_has_a_width(cohort: tuple[np.ndarray, list[str]]) -> None:
    for name, figure in verification_metrics.bootstrap_verification(*cohort).items():
        if name != "tar_at_far_01pct":
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
            assert figure["low"] < figure["high"]


def test_a_false_accept_rate_that_the_pairs_cannot_show_has_no_figure() -> None:
    def found(patients: int) -> verification_metrics.BootstrapInterval:
        subjects = [f"sub-{number // 2}" for number in range(2 * patients)]
        names = np.array(subjects)
        matrix = np.random.default_rng(0).random((len(names),) * 2)
        matrix = (matrix + matrix.T) / 2 + (names[:, None] == names)
        return verification_metrics.bootstrap_verification(matrix, subjects)["tar_at_far_01pct"]

    assert found(22) == {"value": None, "low": None, "high": None}  # 924 different pairs
    assert found(24) == {"value": 1.0, "low": 1.0, "high": 1.0}  # 1104


def test_the_same_seed_gives_the_same_interval(cohort: tuple[np.ndarray, list[str]]) -> None:
    assert verification_metrics.bootstrap_verification(*cohort, seed=5) == verification_metrics.bootstrap_verification(
        *cohort, seed=5
    )


def test_draws_are_of_patients_never_of_scans() -> None:
    subjects = ["a", "a", "b", "c", "c", "c"]
    for drawn in verification_metrics.draw_patients(subjects, 0, 50):
        assert drawn[0] == drawn[1]
        assert drawn[3] == drawn[4] == drawn[5]
        assert drawn[0] + drawn[2] + drawn[3] == 3
        assert drawn[0] + drawn[3] > 0
        assert (np.array([drawn[0], drawn[2], drawn[3]]) > 0).sum() > 1


@pytest.mark.parametrize("subjects", [[], ["a"], ["a", "a"], ["a", "b", "c"]])
def test_too_few_patients_are_an_error_in_one_line_and_no_endless_draw(subjects: list[str]) -> None:
    with pytest.raises(NotEnoughDataError) as caught:
        verification_metrics.bootstrap_verification(np.zeros((len(subjects),) * 2), subjects)
    assert "\n" not in str(caught.value)


def test_a_perfectly_calibrated_probability_has_no_calibration_error() -> None:
    rng = np.random.default_rng(3)
    same = np.arange(40_000) % 2 == 0
    probability = np.where(same, rng.beta(2, 1, 40_000), rng.beta(1, 2, 40_000))
    assert verification_metrics.calibration_bins(probability, same)[0] < 0.02


def test_a_probability_that_is_always_sure_and_half_the_time_wrong_has_an_error_of_one_half() -> None:
    error, bins = verification_metrics.calibration_bins(np.ones(8), SAME)
    assert error == pytest.approx(0.5)
    assert bins == [{"predicted": 1.0, "observed": 0.5, "n": 8}]
