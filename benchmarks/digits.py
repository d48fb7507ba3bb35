"""The three tutorial recipes on scikit-learn's digits, as one-slice volumes with classes as patients.

    python -m benchmarks.digits [SEED ...]

Two questions a recipe: same or different for unseen images of the classes it learned from (what the tutorials ask), and
for classes it never saw (what a clinic asks: the patients of tomorrow are not those of the training).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import compute_distance_matrix, embed_scans
from siamese_med.study.config import TrainConfig
from siamese_med.training import identity_training

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Split = Callable[[NDArray[np.int64], int], "Parts"]

BRIGHTEST = 16.0
PAIRS_EACH = 20_000
SHARED: dict[str, object] = {
    "width": 16,
    "embedding_size": 32,
    "patients_per_batch": 10,
    "steps_per_epoch": 40,
    "epochs": 4,
    "augmentation_strength": 0.0,
    "anatomy_warp_voxels": 0.0,
    "accelerator": "cpu",
}
TUTORIALS: dict[str, dict[str, object]] = {
    "bce": {"loss": "bce", "sampling": "pairs", "scans_per_patient": 8, "learning_rate": 8e-3},
    "contrastive": {
        "loss": "contrastive",
        "sampling": "pairs",
        "scans_per_patient": 6,
        "learning_rate": 6e-3,
        "margin": 2.0,
        "epochs": 8,
    },
    "triplet": {
        "loss": "triplet",
        "sampling": "batch",
        "scans_per_patient": 4,
        "learning_rate": 3e-3,
        "epochs": 3,
    },
}
"""Explicit pairs teach less a step than all pairs of a batch, so their batches hold more scans."""


class Outcome(NamedTuple):
    """AUC of same against different over all pairs of the test images, and the CPU seconds of training."""

    auc: float
    cpu_seconds: float


class Parts(NamedTuple):
    """Places of the images in scikit-learn's set: to learn from, to stop on, to measure with."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def same_classes(labels: NDArray[np.int64], seed: int) -> Parts:
    """1000, 300 and the remaining images, every class in each part."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return Parts(order[:1000], order[1000:1300], order[1300:])


def unseen_classes(labels: NDArray[np.int64], seed: int) -> Parts:
    """Digits 0 to 6 to learn from and to stop on, 7 to 9 to measure with."""
    order = np.random.default_rng(seed).permutation(len(labels))
    known = order[labels[order] < 7]
    return Parts(known[:1000], known[1000:], order[labels[order] >= 7])


def run(tutorial: str, seed: int, folder: Path, split: Split = same_classes) -> Outcome:
    """Train one recipe and measure it on the test images."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    cohorts = [_cohort(images, labels, places, folder) for places in split(labels, seed)]
    config = TrainConfig.model_validate({**SHARED, **TUTORIALS[tutorial], "seed": seed})
    started = time.process_time()
    network, _ = identity_training.train_network(
        cohorts[0], cohorts[1], _pairs(cohorts[0].labels, seed), config, folder / tutorial
    )
    spent = time.process_time() - started
    return Outcome(_auc(compute_distance_matrix(network, embed_scans(network, cohorts[2])), cohorts[2].labels), spent)


def _cohort(images: NDArray[np.float64], labels: NDArray[np.int64], places: Iterable[int], folder: Path) -> ScanDataset:
    paths: list[Path] = []
    for place in places:
        path = folder / f"digit{place:04d}.npy"
        np.save(path, (images[place].reshape(8, 8, 1) / BRIGHTEST).astype(np.float16))
        paths.append(path)
    return ScanDataset(paths, [f"sub-{labels[place]}" for place in places])


def _pairs(labels: NDArray[np.int64], seed: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """PAIRS_EACH pairs of one class and of two, drawn from all."""
    kinds: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for first, second in combinations(range(len(labels)), 2):
        kinds[int(labels[first] != labels[second])].append((first, second))
    rng = np.random.default_rng(seed)
    chosen = [[kind[place] for place in rng.choice(len(kind), PAIRS_EACH, replace=False)] for kind in kinds]
    return chosen[0], chosen[1]


def _auc(distance: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    from sklearn.metrics import roc_auc_score

    first, second = np.triu_indices(len(labels), 1)
    return float(roc_auc_score(labels[first] == labels[second], -distance[first, second]))


def main(seeds: Sequence[int]) -> None:
    """Print the table."""
    print(f"{'recipe':<12} {'seed':>4} {'AUC, same classes':>18} {'AUC, unseen classes':>20} {'CPU s':>6}")
    for tutorial in TUTORIALS:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
                same = run(tutorial, seed, Path(folder))
                unseen = run(tutorial, seed, Path(other), unseen_classes)
            print(
                f"{tutorial:<12} {seed:>4} {same.auc:>18.3f} {unseen.auc:>20.3f} {same.cpu_seconds:>6.1f}", flush=True
            )


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [0, 1, 2])
