"""One rank against several at equal total batch: python -m benchmarks.ranks FOLDER --ranks 2 --seeds 0 1 2.

A simulated cohort is prepared in the folder first where it is empty. Losses and AUC of the last epoch are over all
pairs of validation scans, the AUC of test patients is that of the best epoch; seconds include
the start of the processes. `--change-steps 0` leaves the change head alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks import verification
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, compute_distance_matrix, embed_scans
from siamese_med.pipeline import stages
from siamese_med.study.config import Config, TrainConfig
from siamese_med.training import distributed, train_model, training_scans

HEAD = "| ranks | seed | train loss | validation loss | validation AUC | test AUC | change loss | seconds |"


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--patients", type=int, default=16)
    arguments.add_argument("--ranks", type=int, default=2)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    arguments.add_argument("--change-steps", type=int, default=TrainConfig().change_steps)
    given = arguments.parse_args()
    settings = TrainConfig(accelerator="cpu", epochs=given.epochs, change_steps=given.change_steps)
    source = stages.simulate(given.folder, given.patients)
    study = verification.ingested(source, given.folder / "ranks", Config(train=settings))
    stages.build_pairs(study)
    prepared, pairs = stages.prepare(study), stages.read_pairs(study)
    usable = training_scans.select_usable_scans(stages.scans(study), prepared, pairs)
    cohorts, explicit = training_scans.collect_training_data(study, usable, pairs, prepared.template)
    sources = train_model.prepare_change_sources(study, usable, prepared, pairs, given.folder / "exercises")
    print(HEAD, "|---" * 8 + "|", sep="\n")
    for seed in given.seeds:
        for count in (1, given.ranks):
            config = settings.model_copy(update={"seed": seed, "devices": count})
            with tempfile.TemporaryDirectory() as scratch:
                started = time.perf_counter()
                found = distributed.train_on_ranks(
                    cohorts["train"], cohorts["validation"], explicit, config, Path(scratch), sources
                )
                seconds = time.perf_counter() - started
            network, progress = found
            last = progress.log[-1]
            figures = [last.train_loss, last.validation_loss, last.validation_auc, _auc(network, cohorts["test"])]
            change = f"{progress.practised[-1].validation_loss:.4f}" if progress.practised else "-"
            print(_row([str(count), str(seed), *(f"{figure:.4f}" for figure in figures), change, f"{seconds:.0f}"]))


def _auc(network: SiameseNetwork, cohort: ScanDataset) -> float:
    first, second = np.triu_indices(len(cohort.volumes), 1)
    distance = compute_distance_matrix(network, embed_scans(network, cohort))[first, second]
    return float(roc_auc_score(cohort.labels[first] == cohort.labels[second], -distance))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
