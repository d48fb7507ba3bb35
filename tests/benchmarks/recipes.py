"""Four recipes and three baselines on the demo cohort's test patients: `python -m tests.benchmarks.recipes demo`.

The folder is simulated and prepared first where it is empty. Every recipe is trained on the same training patients,
stopped and calibrated on the same validation patients, and measured on the same test patients by the train stage.
Intervals are 95 %, by a bootstrap over patients.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from siamese_med import stages
from siamese_med.config import Config, TrainConfig
from siamese_med.records import Study

RECIPES: dict[str, dict[str, str]] = {
    "supcon, all in-batch pairs": {"recipe": "supcon"},
    "bce on abs(a - b), explicit pairs": {"recipe": "bce", "sampling": "pairs"},
    "contrastive, explicit pairs": {"recipe": "contrastive", "sampling": "pairs"},
    "triplet, batch-hard miner": {"recipe": "triplet"},
}
FIGURES = ("auc", "eer", "tar_at_far_1pct", "rank1")


def main() -> None:
    """Train the recipes and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--patients", type=int, default=24)
    arguments.add_argument("--seeds", type=int, default=1)
    given = arguments.parse_args()
    metrics = {
        (name, seed): _measure(given.folder, given.patients, seed, choice)
        for name, choice in RECIPES.items()
        for seed in range(given.seeds)
    }
    first = next(iter(metrics.values()))
    print(f"{first['patients']['test']} test patients, {first['scans']['test']} scans, ", end="")
    print(f"{first['pairs_test']['same']} same and {first['pairs_test']['different']} different pairs\n")
    print("| method | seed | AUC | EER | TAR at FAR 1 % | rank-1 | pairs/s in training |")
    print("|---|---|---|---|---|---|---|")
    for (name, seed), found in metrics.items():
        print(_row(name, str(seed), found["test"]["network"], f"{found['training']['pairs_per_second']:.0f}"))
    for name in ("ncc", "ncc_highpass", "mutual_information"):
        print(_row(name, "-", first["test"][name], "-"))


def _measure(folder: Path, patients: int, seed: int, choice: dict[str, str]) -> dict[str, Any]:
    train = TrainConfig.model_validate({**choice, "seed": seed})
    study = Study(folder / "data", folder / "reports", Config(train=train))
    stages.ingest(stages.simulate(folder, patients), study)
    stages.prepare(study)
    stages.build_pairs(study)
    found: dict[str, Any] = json.loads((stages.train(study) / "metrics.json").read_text())
    return found


def _row(name: str, seed: str, figures: dict[str, dict[str, float]], speed: str) -> str:
    cells = [f"{figures[key]['value']:.3f} ({figures[key]['low']:.3f}-{figures[key]['high']:.3f})" for key in FIGURES]
    return f"| {name} | {seed} | {' | '.join(cells)} | {speed} |"


if __name__ == "__main__":
    main()
