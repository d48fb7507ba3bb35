"""How fast is learning and comparing? Three questions, each measured side by side in one run.

python -m benchmarks.throughput pairs STUDY_FOLDER --seconds 60      all in-batch pairs against explicit pairs
python -m benchmarks.throughput all-pairs --scans 10000              similarity of every pair of stored embeddings
python -m benchmarks.throughput memory FOLDER --scans 1000 10000     peak memory of a training process

`pairs` gives both ways the same CPU time on the training patients of a study that is prepared and paired, and measures
both on its validation patients. `memory` trains on random volumes (each one of twenty files, linked under many names).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from siamese_med.network.losses import MetricLoss, build_loss
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, compute_distance_matrix, embed_scans
from siamese_med.pipeline import stages
from siamese_med.scoring.identity import verification_metrics
from siamese_med.scoring.identity.calibration import SimilarityCalibration
from siamese_med.study.config import TrainConfig
from siamese_med.study.tables import Study
from siamese_med.training import identity_training, training_scans

SIDE, VOLUMES = 64, 20
BLOCK = 500
STEPS = 4


def main() -> None:
    """Answer one question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("pairs", "all-pairs", "memory", "train-once"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("throughput"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU for each way of training")
    parser.add_argument("--scans", type=int, nargs="+", default=[1000, 10_000])
    given = parser.parse_args()
    if given.question == "pairs":
        _pairs(given.folder, given.seconds)
    elif given.question == "all-pairs":
        _all_pairs(given.scans[-1])
    elif given.question == "memory":
        _memory(given.folder, given.scans)
    else:
        _train_once(given.folder)


def _pairs(folder: Path, seconds: float) -> None:
    study = Study(folder / "data", folder / "reports")
    paired, prepared = stages.read_pairs(study), stages.prepare(study)
    usable = training_scans.select_usable_scans(stages.scans(study), prepared, paired)
    cohorts, explicit = training_scans.collect_training_data(study, usable, paired, prepared.template)
    ways = {
        "all pairs of a batch": TrainConfig(accelerator="cpu"),
        "explicit pairs": TrainConfig(accelerator="cpu", loss="contrastive", sampling="pairs"),
    }
    found = {}
    print(f"{len(cohorts['train'].volumes)} training scans; measured on the validation patients\n")
    print("| way | CPU-s | pairs | pairs per CPU-s | AUC (95 %) |\n|---|---|---|---|---|")
    for name, config in ways.items():
        network, spent, pairs = _train_for(seconds, cohorts, explicit, config)
        distance = compute_distance_matrix(network, embed_scans(network, cohorts["validation"]))
        auc = verification_metrics.bootstrap_verification(-distance, list(cohorts["validation"].subjects), 0)["auc"]
        found[name] = pairs / spent
        cells = f"{auc['value']:.4f} ({auc['low']:.4f}-{auc['high']:.4f})"
        print(f"| {name} | {spent:.0f} | {pairs} | {found[name]:.1f} | {cells} |")
    print(f"\nratio {found['all pairs of a batch'] / found['explicit pairs']:.1f}")


def _train_for(
    seconds: float,
    cohorts: dict[str, ScanDataset],
    explicit: tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]],
    config: TrainConfig,
) -> tuple[SiameseNetwork, float, int]:
    """As many epochs as fit into the time, which a first one tells; the learning rate is scheduled for all of them."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as whole:
        started = time.process_time()
        identity_training.train_network(cohorts["train"], cohorts["validation"], explicit, _of(config, 1), Path(first))
        epochs = max(1, round(seconds / (time.process_time() - started)))
        started = time.process_time()
        network, progress = identity_training.train_network(
            cohorts["train"], cohorts["validation"], explicit, _of(config, epochs), Path(whole)
        )
        return network, time.process_time() - started, sum(epoch.pairs for epoch in progress.log)


def _of(config: TrainConfig, epochs: int) -> TrainConfig:
    return config.model_copy(update={"epochs": epochs, "patience": epochs})


def _all_pairs(scans: int) -> None:
    config = TrainConfig()
    embeddings = torch.randn(scans, config.embedding_size, generator=torch.Generator().manual_seed(0))
    recipe, curve = build_loss(config), SimilarityCalibration(-8.0, 6.0, 0.5, 0.01)
    clock, cpu, pairs, matches = time.perf_counter(), time.process_time(), 0, 0
    for similarity in _similarities(recipe, curve, embeddings):
        pairs += similarity.size
        matches += int((similarity >= curve.threshold).sum())
    print(
        f"{pairs} pairs of {scans} random embeddings of length {config.embedding_size}: "
        f"{time.perf_counter() - clock:.2f} s, {time.process_time() - cpu:.2f} CPU-s, {matches} matches, "
        f"peak {_peak_mb():.0f} MB"
    )


def _similarities(recipe: MetricLoss, curve: SimilarityCalibration, embeddings: torch.Tensor) -> Iterator[np.ndarray]:
    """Similarities of every pair once, a block of rows at a time."""
    for start in range(0, len(embeddings), BLOCK):
        with torch.inference_mode():
            apart = recipe.distances(embeddings[start : start + BLOCK], embeddings[start:]).numpy()
        yield curve.similarities(apart[np.arange(apart.shape[1]) > np.arange(len(apart))[:, None]])


def _memory(folder: Path, counts: Sequence[int]) -> None:
    print("| scans | peak MB of the training process |\n|---|---|")
    for count in counts:
        write_volumes(folder / str(count), count)
        command = [sys.executable, "-m", "benchmarks.throughput", "train-once", str(folder / str(count))]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"| {count} | {json.loads(printed)['peak_mb']:.0f} |")


def write_volumes(folder: Path, count: int, side: int = SIDE) -> None:
    """So many random volumes (side, side, side), float16: twenty files, the others are links to them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:06d}.npy"
        if number < VOLUMES:
            np.save(path, rng.uniform(0.2, 1.5, (side,) * 3).astype(np.float16))
        elif not path.exists():
            os.link(folder / f"{number % VOLUMES:06d}.npy", path)


def _train_once(folder: Path) -> None:
    paths = sorted(folder.glob("*.npy"))
    subjects = [str(number // 4) for number in range(len(paths))]
    few = ScanDataset(paths[:40], subjects[:40])
    config = TrainConfig(accelerator="cpu", epochs=1, steps_per_epoch=STEPS)
    with tempfile.TemporaryDirectory() as scratch:
        identity_training.train_network(ScanDataset(paths, subjects), few, None, config, Path(scratch))
    print(json.dumps({"peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
