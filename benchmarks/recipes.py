"""Recipes of the Siamese literature at equal CPU time, beside baselines, on unseen patients.

python -m benchmarks.recipes FOLDER [--sets hard hippocampus heads] [--seconds 12] [--seeds 0 1 2] [--encoders]

Each recipe trains for the same CPU-seconds on the same training patients, its epoch is chosen on the same validation
patients, and all are measured on the same test patients. So that a training of seconds sees its scans more than once,
all are given means of 2 x 2 x 2 voxels of the prepared scans. Figures are of the learned part of the distance; the last
but two columns adds the edges, as the product does. The change head is not trained: all time goes into identity.

hard          simulated patients, a quarter as different as real ones, six machines, FLAIR, T1w and T2w
hippocampus   real crops (each one taken for a person), every visit simulated
heads         real heads (7 of ds000011, 5 of ixi_2mm), two visits in T1 and two in T2, all visits simulated

`--encoders` tries encoders of MONAI too, with the first recipe; Swin needs the package einops.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import verification
from benchmarks.identity_real import real_heads, write_visits
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import (
    SiameseNetwork,
    compute_distance_matrix,
    compute_part_distances,
    embed_scans,
)
from siamese_med.pipeline import stages
from siamese_med.scoring.identity import evaluation, verification_metrics
from siamese_med.scoring.identity.verification_metrics import BootstrapInterval, ScanPairs
from siamese_med.simulation import cohort, follow_ups
from siamese_med.study.config import Config, TrainConfig
from siamese_med.study.vocabulary import Split
from siamese_med.training import identity_training, similarity_fusion, training_scans
from siamese_med.training.training_scans import Positions

Matrix = NDArray[np.float64]

RECIPES: Mapping[str, dict[str, Any]] = {
    "supervised-contrastive, all pairs of a batch": {"loss": "supcon"},
    "contrastive, all pairs of a batch": {"loss": "contrastive"},
    "contrastive, explicit pairs": {"loss": "contrastive", "sampling": "pairs"},
    "cross-entropy on abs(a - b), explicit pairs": {"loss": "bce", "sampling": "pairs"},
    "triplet, hardest of a batch": {"loss": "triplet"},
}
ENCODERS: Mapping[str, dict[str, Any]] = {
    "resnet10": {"encoder": "resnet10"},
    "densenet121": {"encoder": "densenet121"},
    "Swin (swinViT of SwinUNETR)": {
        "encoder": "monai",
        "encoder_args": {
            "network": "SwinUNETR",
            "part": "swinViT",
            "multiple": 32,
            "arguments": {"feature_size": 12, "out_channels": 1},
        },
    },
}
HARD_PATIENTS, HARD_VISITS, HARD_DIFFERENCE = 40, 3, 0.25
CROPS, CROP_VISITS = 40, 2
SEED, HEADS_SEED = 21, 11
"""Of the simulations; those of `benchmarks.identity` and `benchmarks.identity_real`."""


class Cohorts(NamedTuple):
    """What all recipes are given: scans by split, explicit training pairs, and the baselines on the test scans."""

    scans: Mapping[str, ScanDataset]
    pairs: tuple[Positions, Positions]
    baselines: Mapping[str, Matrix]


class Trained(NamedTuple):
    """One training: distances (n, n) of the test scans by the learned part and with the edges, and what it cost."""

    learned: Matrix
    fused: Matrix
    epochs: int
    pairs: int
    cpu_s: float


def main() -> None:
    """Print one table a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=list(SETS))
    parser.add_argument("--seconds", type=float, default=12.0, help="of CPU for each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the training")
    parser.add_argument("--encoders", action="store_true", help="encoders of MONAI too")
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    given = parser.parse_args()
    ways = {**RECIPES, **(ENCODERS if given.encoders else {})}
    for name in given.sets:
        source = SETS[name](given.folder / name / "simulated", given.real.resolve())
        cohorts = _prepare(source, given.folder / name)
        _count_epochs(cohorts, TrainConfig(accelerator="cpu"), given.seconds)  # imports what all recipes need
        print(f"\n{name}: {_describe(cohorts)}\n\n{HEADER}", flush=True)
        for way, settings in ways.items():
            config = TrainConfig.model_validate({**settings, "accelerator": "cpu"})
            try:
                trained = list(_train_seeds(cohorts, config, given.seconds, given.seeds))
            except RuntimeError as error:  # such as an encoder that halves the grid more often than it can be halved
                print(f"| {way} | does not run: {str(error).splitlines()[0][:80]} |", flush=True)
                continue
            print(_row(way, cohorts.scans[Split.TEST].subjects, trained), flush=True)
        for way, matrix in cohorts.baselines.items():
            print(_baseline_row(way, cohorts.scans[Split.TEST].subjects, matrix), flush=True)


def _hard(folder: Path, _real: Path) -> Path:
    contrasts = ("FLAIR", "T1w", "T2w")
    cohort.write_cohort(folder, HARD_PATIENTS, HARD_VISITS, SEED, HARD_DIFFERENCE, contrasts)
    return folder / "input"


def _hippocampus(folder: Path, real: Path) -> Path:
    crops = sorted((real / "hippocampus").glob("*.nii.gz"))[:CROPS]
    return follow_ups.write_follow_ups(folder, crops, CROP_VISITS, SEED)


def _heads(folder: Path, real: Path) -> Path:
    write_visits(folder, real_heads(real), HEADS_SEED)
    return folder


SETS: Mapping[str, Callable[[Path, Path], Path]] = {"hard": _hard, "hippocampus": _hippocampus, "heads": _heads}


def _prepare(source: Path, folder: Path) -> Cohorts:
    study = verification.ingested(source, folder, Config())
    prepared = stages.prepare(study)
    pairs = stages.build_pairs(study)
    usable = training_scans.select_usable_scans(stages.scans(study), prepared, pairs)
    scans, explicit = training_scans.collect_training_data(study, usable, pairs, prepared.template)
    coarse = {split: _coarsen(one, folder / "coarse") for split, one in scans.items()}
    return Cohorts(coarse, explicit, evaluation.measure_baselines(list(coarse[Split.TEST].volumes)))


def _coarsen(scans: ScanDataset, folder: Path) -> ScanDataset:
    """The scans on a grid of half as many voxels an edge: means of 2 x 2 x 2; a voxel with air among them is air."""
    folder.mkdir(exist_ok=True)
    paths = [folder / path.name for path in scans.volumes]
    for path, coarse in zip(scans.volumes, paths, strict=True):
        i, j, k = (n // 2 for n in scans.shape)
        cells = np.load(path)[: 2 * i, : 2 * j, : 2 * k].astype(np.float32).reshape(i, 2, j, 2, k, 2)
        np.save(coarse, np.where((cells != 0).all((1, 3, 5)), cells.mean((1, 3, 5)), 0).astype(np.float16))
    return ScanDataset(paths, scans.subjects)


def _describe(cohorts: Cohorts) -> str:
    counts = {split: (len(set(one.subjects)), len(one.volumes)) for split, one in cohorts.scans.items()}
    return ", ".join(f"{split} {patients} patients, {scans} scans" for split, (patients, scans) in counts.items())


def _train_seeds(cohorts: Cohorts, config: TrainConfig, seconds: float, seeds: Sequence[int]) -> Iterator[Trained]:
    """Train once for each seed; a first training of one epoch tells how many fit into the time."""
    epochs = _count_epochs(cohorts, config, seconds)
    for seed in seeds:
        started = time.process_time()
        settings = config.model_copy(update={"epochs": epochs, "patience": epochs, "seed": seed})
        network, pairs = _train(cohorts, settings, lambda _: None)
        spent = time.process_time() - started
        embeddings = embed_scans(network, cohorts.scans[Split.TEST])
        similarity_fusion.fuse_similarity(network, cohorts.scans[Split.VALIDATION])
        learned, _ = compute_part_distances(network, embeddings)
        yield Trained(learned, compute_distance_matrix(network, embeddings), epochs, pairs, spent)


def _count_epochs(cohorts: Cohorts, config: TrainConfig, seconds: float) -> int:
    """Count the epochs that fit into the time, beside what is done once: atlas, edges, and the network itself."""
    started, steps = time.process_time(), []
    _train(cohorts, config.model_copy(update={"epochs": 1, "patience": 1}), lambda _: steps.append(time.process_time()))
    once, epoch = steps[0] - started, time.process_time() - steps[0]
    return max(1, round((seconds - once) / epoch))


def _train(cohorts: Cohorts, config: TrainConfig, advance: Callable[[int], None]) -> tuple[SiameseNetwork, int]:
    @contextmanager
    def bar(_title: str, _steps: int) -> Iterator[Callable[[int], None]]:
        yield advance

    opened: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] = bar
    with tempfile.TemporaryDirectory() as folder:
        network, progress = identity_training.train_network(
            cohorts.scans[Split.TRAIN],
            cohorts.scans[Split.VALIDATION],
            cohorts.pairs,
            config,
            Path(folder),
            bar=opened,
        )
    return network, sum(epoch.pairs for epoch in progress.log)


COLUMNS = ("method", *verification.FIGURES.values(), "AUC with the edges", "epochs", "CPU-s", "pairs a CPU-s")
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def _row(name: str, subjects: Sequence[str], trained: Sequence[Trained]) -> str:
    """Means over seeds, with intervals from drawing patients, once for all seeds."""
    learned = mean_verification([-one.learned for one in trained], subjects)
    fused = mean_verification([-one.fused for one in trained], subjects)
    cells = [verification.cell(learned.get(figure)) for figure in verification.FIGURES]
    spent = sum(one.cpu_s for one in trained)
    cost = f"{trained[0].epochs} | {spent / len(trained):.0f} | {sum(one.pairs for one in trained) / spent:.0f}"
    return f"| {name} | {' | '.join(cells)} | {verification.cell(fused['auc'])} | {cost} |"


def _baseline_row(name: str, subjects: Sequence[str], matrix: Matrix) -> str:
    found = mean_verification([matrix], subjects)
    cells = [verification.cell(found.get(figure)) for figure in verification.FIGURES]
    return f"| {name} | {' | '.join(cells)} | - | - | - | - |"


def mean_verification(scores: Sequence[Matrix], subjects: Sequence[str]) -> dict[str, BootstrapInterval]:
    """Mean figures of several score matrices (n, n) of the same scans; patients are drawn once for all of them.

    A TAR is missing where there are too few pairs of two patients for one false accept at its FAR.
    """

    def figures(drawn: Matrix) -> dict[str, float]:
        each = [verification_metrics.compute_verification(matrix, subjects, drawn) for matrix in scores]
        return {name: float(np.mean([one[name] for one in each])) for name in each[0]}

    draws = verification_metrics.draw_patients(subjects, 0)
    found = verification_metrics.compute_intervals(figures(np.ones(len(subjects))), map(figures, draws))
    enough, rates = int((~ScanPairs(subjects).same).sum()), verification_metrics.FALSE_ACCEPT_RATES
    return {name: one for name, one in found.items() if enough * rates.get(name, 1.0) >= 1}


if __name__ == "__main__":
    main()
