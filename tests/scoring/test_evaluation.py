"""What is said of a model on test patients, from matrices made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.scoring.identity import baselines, evaluation
from siamese_med.scoring.identity.calibration import SimilarityCalibration
from siamese_med.study.model_metrics import IdentityFigures

PATIENTS, SCANS = 12, 3
CURVE = SimilarityCalibration(slope=-8.0, intercept=8.0, threshold=0.9, false_match_rate=0.01)


@pytest.fixture(scope="module")
def scans() -> pd.DataFrame:
    subjects = np.repeat([f"sub-{number:02d}" for number in range(PATIENTS)], SCANS)
    day = [f"2020-0{1 + 3 * (number % SCANS)}-01" for number in range(len(subjects))]
    machine = [f"scanner-{number % 2}" for number in range(len(subjects))]
    return pd.DataFrame({"subject": subjects, "date": day, "scanner": machine, "contrast": "T1w"})


@pytest.fixture(scope="module")
def distance(scans: pd.DataFrame) -> np.ndarray:
    names = scans.subject.to_numpy()
    rng = np.random.default_rng(0)
    half = np.triu(rng.normal(np.where(names[:, None] == names, 0.5, 1.5), 0.25), 1)
    return half + half.T


@pytest.fixture(scope="module")
def found(scans: pd.DataFrame, distance: np.ndarray) -> IdentityFigures:
    noise = np.random.default_rng(1).normal(0, 1, distance.shape)
    worse = -distance + noise + noise.T
    return evaluation.evaluate_test_patients(scans, distance, {"ncc": worse}, CURVE, seed=0)


def test_every_method_has_every_figure_with_its_interval(found: IdentityFigures) -> None:
    recorded = found.to_json_object()
    assert set(found.test) == {"ncc", "network"}
    for figures in recorded["test"].values():
        assert set(figures) == {"auc", "eer", "tar_at_far_1pct", "tar_at_far_01pct", "rank1"}
        assert all(set(interval) == {"value", "low", "high"} for interval in figures.values())
    json.dumps(recorded, allow_nan=False)


def test_the_best_method_is_that_of_the_highest_auc(found: IdentityFigures) -> None:
    assert found.test["network"].auc.value > found.test["ncc"].auc.value
    assert found.best == "network"


def test_a_tie_goes_to_the_simpler_method(scans: pd.DataFrame, distance: np.ndarray) -> None:
    assert evaluation.evaluate_test_patients(scans, distance, {"ncc": -distance}, CURVE, 0).best == "ncc"


def test_all_pairs_are_counted(found: IdentityFigures) -> None:
    assert (found.pairs_test.same, found.pairs_test.different) == (PATIENTS * 3, 66 * 9)
    assert sum(row.pairs for row in found.strata.scanner) == 36 * 35 / 2


def test_the_false_match_rate_is_the_share_of_different_pairs_over_the_threshold(
    scans: pd.DataFrame, distance: np.ndarray, found: IdentityFigures
) -> None:
    names = scans.subject.to_numpy()
    first, second = np.triu_indices(len(names), 1)
    other = names[first] != names[second]
    accepted = distance[first, second][other] <= 1 - np.log(9) / 8  # where the curve passes 0.9
    rate = found.false_match_rate_test
    assert rate.value == pytest.approx(accepted.mean())
    assert rate.low <= rate.value <= rate.high


def test_the_calibration_error_has_an_interval_and_its_bins_count_every_pair(found: IdentityFigures) -> None:
    error = found.calibration.ece
    assert 0 <= error.low <= error.value <= error.high <= 0.2
    assert sum(row.n for row in found.calibration.bins) == 36 * 35 / 2


def test_baselines_of_files_are_those_of_their_volumes(tmp_path: Path) -> None:
    volumes = np.random.default_rng(0).random((3, 12, 12, 12)).astype(np.float16)
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, voxels in zip(paths, volumes, strict=True):
        np.save(path, voxels)
    found = evaluation.measure_baselines(paths)
    for name, matrix in baselines.compute_baseline_matrices(list(volumes)).items():
        assert found[name] == pytest.approx(matrix)
