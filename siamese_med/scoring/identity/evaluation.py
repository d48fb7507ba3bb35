"""Evaluation of a model and of the baselines on scans of patients that it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.runtime import files
from siamese_med.scoring.identity import baselines, strata, verification_metrics
from siamese_med.scoring.identity.baselines import BASELINES
from siamese_med.scoring.identity.calibration import SimilarityCalibration
from siamese_med.study.model_metrics import (
    CalibrationBin,
    CalibrationFigures,
    Estimate,
    IdentityFigures,
    MeasuredCounts,
    MethodFigures,
    TestPairCounts,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

GALLERY_PAIRS_PER_KIND = 4
"""Example pairs of one patient, and of two patients, on the model's page."""


def measure_baselines(volumes: Sequence[Path]) -> dict[str, Matrix]:
    """Compute each baseline for all pairs of n aligned volumes (paths of .npy files).

    Returns symmetric matrices (n, n) by name; higher is more similar.
    """
    return baselines.compute_baseline_matrices([np.load(path, mmap_mode="r") for path in volumes])


def evaluate_test_patients(
    scans: pd.DataFrame,
    distance: Matrix,
    matrices: dict[str, Matrix],
    curve: SimilarityCalibration,
    seed: int,
    parts: dict[str, Matrix] | None = None,
) -> IdentityFigures:
    """Evaluate network, baselines and calibration on the test scans, with 95 % intervals.

    Parameters
    ----------
    scans
        The n test scans, with columns subject, date, scanner and contrast.
    distance
        Distances (n, n) of the embeddings.
    matrices
        Each baseline (n, n), see `measure_baselines`.
    curve
        The calibration that is evaluated.
    seed
        Of the bootstrap over patients.
    parts
        Distances (n, n) by each part of the embeddings, which are measured too.

    Returns
    -------
    IdentityFigures
        `best` has the highest AUC; of equal ones a baseline. NotEnoughDataError where nobody has two scans.
    """
    subjects = list(scans.subject)
    methods = {**matrices, "network": -distance}  # a tie goes to the first, that is to the simpler method
    table = {name: _measure_method(matrix, subjects, seed) for name, matrix in methods.items()}
    pairs = verification_metrics.ScanPairs(subjects)
    similarity = curve.similarities(distance[pairs.places])
    calibration, false_matches = _evaluate_calibration(pairs, similarity, curve, seed)
    return IdentityFigures(
        test={**table, **{name: _measure_method(-apart, subjects, seed) for name, apart in (parts or {}).items()}},
        best=max(table, key=lambda name: table[name].auc.value or 0.0),
        calibration=calibration,
        false_match_rate_test=false_matches,
        strata=strata.summarise_by_group(scans, pairs, similarity, curve.threshold),
        measured=MeasuredCounts(patients=len(set(subjects)), scans=len(subjects)),
        pairs_test=TestPairCounts(same=int(pairs.same.sum()), different=int((~pairs.same).sum())),
    )


def _measure_method(matrix: Matrix, subjects: Sequence[str], seed: int) -> MethodFigures:
    found = verification_metrics.bootstrap_verification(matrix, subjects, seed)
    return MethodFigures(**{name: verification_metrics.make_estimate(interval) for name, interval in found.items()})


def _evaluate_calibration(
    pairs: verification_metrics.ScanPairs, similarity: Matrix, curve: SimilarityCalibration, seed: int
) -> tuple[CalibrationFigures, Estimate]:
    """Expected calibration error and false-match rate, with 95 % intervals."""
    accepted = similarity >= curve.threshold

    def figures(drawn: Matrix) -> dict[str, float]:
        weight = pairs.weights(drawn)
        different = np.where(pairs.same, 0.0, weight)
        return {
            "ece": verification_metrics.calibration_bins(similarity, pairs.same, weight)[0],
            "false_matches": float((different * accepted).sum() / different.sum()),
        }

    draws = verification_metrics.draw_patients(pairs.subjects, seed)
    found = verification_metrics.compute_intervals(figures(np.ones(len(pairs.subjects))), map(figures, draws))
    bins = tuple(map(CalibrationBin.model_validate, verification_metrics.calibration_bins(similarity, pairs.same)[1]))
    calibration = CalibrationFigures(ece=verification_metrics.make_estimate(found["ece"]), bins=bins)
    return calibration, verification_metrics.make_estimate(found["false_matches"])


def build_reference_table(
    split: str,
    scans: Sequence[str],
    subjects: Sequence[str],
    distance: Matrix,
    curve: SimilarityCalibration,
    matrices: dict[str, Matrix],
) -> pd.DataFrame:
    """Build the table of all pairs of one split: similarity, distance and baselines, and whether it is one patient.

    Reports show a pair's similarity among these.

    Parameters
    ----------
    split
        Name of the split, a column of the table.
    scans, subjects
        Ids and patients of the n scans.
    distance
        Distances (n, n) of the embeddings.
    curve
        Converts distances to similarities.
    matrices
        Baselines (n, n) by name; NaN stands in the table for those that are missing.
    """
    import pandas as pd

    first, second = np.triu_indices(len(scans), 1)
    names = np.asarray(subjects)
    columns = {name: matrix[first, second] for name, matrix in matrices.items()}
    empty = {name: np.nan for name in BASELINES if name not in columns}
    return pd.DataFrame(
        {
            "split": split,
            "scan_a": np.asarray(scans)[first],
            "scan_b": np.asarray(scans)[second],
            "same": names[first] == names[second],
            "similarity": curve.similarities(distance[first, second]),
            "distance": distance[first, second],
            **columns,
            **empty,
        }
    )


def write_gallery(path: Path, reference: pd.DataFrame, volumes: dict[str, Path]) -> None:
    """Write example pairs as middle axial slices (npz): of each kind the most and the least similar, and two between.

    Parameters
    ----------
    path
        File to write, replaced as a whole.
    reference
        Pairs with columns scan_a, scan_b, same, distance and similarity, see `build_reference_table`.
    volumes
        Aligned volume (.npy) of each scan id.
    """
    chosen = []
    for _, kind in reference.groupby("same", sort=False):
        ordered = kind.sort_values("distance")
        places = np.unique(
            np.linspace(0, len(ordered) - 1, min(GALLERY_PAIRS_PER_KIND, len(ordered))).round().astype(int)
        )
        chosen += [ordered.iloc[place] for place in places]
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            a=np.stack([_thumbnail(volumes[row.scan_a]) for row in chosen]),
            b=np.stack([_thumbnail(volumes[row.scan_b]) for row in chosen]),
            same=np.array([bool(row.same) for row in chosen]),
            distance=np.array([row.distance for row in chosen]),
            similarity=np.array([row.similarity for row in chosen]),
        )


def _thumbnail(path: Path) -> NDArray[np.uint8]:
    voxels = np.load(path, mmap_mode="r")
    middle = np.asarray(voxels[::-1, ::-1, voxels.shape[2] // 2], dtype=np.float32).T
    return (middle * 255 / 1.6).clip(0, 255).astype(np.uint8)
