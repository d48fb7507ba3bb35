"""How well a model does, with the baselines beside it, on scans of patients it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med import files
from siamese_med.parallel import in_parallel
from siamese_med.scoring import metrics
from siamese_med.scoring.baselines import BASELINES
from siamese_med.scoring.baselines import scores as baseline_scores
from siamese_med.scoring.similarity import Calibration

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

GALLERY_EACH = 4


def baseline_matrices(volumes: Sequence[Path]) -> dict[str, Matrix]:
    """Each baseline over all pairs of n volumes: symmetric (n, n), higher is more alike."""
    n = len(volumes)
    first, second = np.triu_indices(n, 1)
    jobs = [(volumes[int(a)], volumes[int(b)]) for a, b in zip(first, second, strict=True)]
    found = list(in_parallel(_baselines_of, jobs, "measuring baselines"))
    matrices = {name: np.zeros((n, n)) for name in BASELINES}
    for name, matrix in matrices.items():
        matrix[first, second] = matrix[second, first] = [scores[name] for scores in found]
    return matrices


def _baselines_of(pair: tuple[Path, Path]) -> dict[str, float]:
    return baseline_scores(*(np.load(path, mmap_mode="r") for path in pair))


def of_test_patients(
    distance: Matrix, matrices: dict[str, Matrix], subjects: Sequence[str], curve: Calibration, seed: int
) -> dict[str, Any]:
    """Network and baselines on the test scans, with intervals; which is best; and how well similarity is calibrated."""
    methods = {**matrices, "network": -distance}  # a tie goes to the first, that is to the simpler method
    table = {name: metrics.with_intervals(matrix, subjects, seed) for name, matrix in methods.items()}
    upper = np.triu_indices(len(subjects), 1)
    names = np.asarray(subjects)
    same = names[upper[0]] == names[upper[1]]
    similarity = np.array([curve.similarity(value) for value in distance[upper]])
    error, bins = metrics.calibration_bins(similarity, same)
    return {
        "test": table,
        "best": max(table, key=lambda name: table[name]["auc"]["value"]),
        "calibration": {"ece": error, "bins": bins},
        "false_match_rate_test": float((similarity[~same] >= curve.threshold).mean()),
        "pairs_test": {"same": int(same.sum()), "different": int((~same).sum())},
    }


def reference_table(
    split: str,
    scans: Sequence[str],
    subjects: Sequence[str],
    distance: Matrix,
    curve: Calibration,
    matrices: dict[str, Matrix],
) -> pd.DataFrame:
    """One row a pair of a split: the scores of pairs of which it is known whether they are of one patient."""
    import pandas as pd

    first, second = np.triu_indices(len(scans), 1)
    names = np.asarray(subjects)
    columns = {name: matrix[first, second] for name, matrix in matrices.items()}
    empty = dict.fromkeys(set(BASELINES) - set(columns), np.nan)
    return pd.DataFrame(
        {
            "split": split,
            "scan_a": np.asarray(scans)[first],
            "scan_b": np.asarray(scans)[second],
            "same": names[first] == names[second],
            "similarity": [curve.similarity(value) for value in distance[first, second]],
            "distance": distance[first, second],
            **columns,
            **empty,
        }
    )


def write_gallery(path: Path, reference: pd.DataFrame, volumes: dict[str, Path]) -> None:
    """Example pairs as middle axial slices: of each kind the most alike, the least alike and two between."""
    chosen = []
    for _, kind in reference.groupby("same", sort=False):
        ordered = kind.sort_values("distance")
        places = np.unique(np.linspace(0, len(ordered) - 1, min(GALLERY_EACH, len(ordered))).round().astype(int))
        chosen += [ordered.iloc[place] for place in places]
    with files.replacing(path) as temporary, temporary.open("wb") as file:
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
