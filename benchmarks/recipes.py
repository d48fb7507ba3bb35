"""Four recipes and the baselines on the demo cohort's test patients: `python -m benchmarks.recipes demo`.

The folder is simulated and prepared first where it is empty. Every recipe is trained on the same training patients,
stopped and calibrated on the same validation patients, and measured on the same test patients by the train stage.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import verification
from siamese_med.pipeline import stages
from siamese_med.scoring.identity.baselines import BASELINES
from siamese_med.study.config import Config, TrainConfig

RECIPES: dict[str, dict[str, str]] = {
    "supcon, all in-batch pairs": {"loss": "supcon"},
    "bce on abs(a - b), explicit pairs": {"loss": "bce", "sampling": "pairs"},
    "contrastive, explicit pairs": {"loss": "contrastive", "sampling": "pairs"},
    "triplet, batch-hard miner": {"loss": "triplet"},
}


def main() -> None:
    """Train the recipes and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--patients", type=int, default=24)
    arguments.add_argument("--seeds", type=int, default=1)
    given = arguments.parse_args()
    source = stages.simulate(given.folder, given.patients)
    rows, speed, first = [], [], {}
    for name, choice in RECIPES.items():
        config = Config(train=TrainConfig.model_validate(choice))
        study = verification.ingested(source, given.folder / "recipes", config)
        for seed, model in enumerate(verification.trained(study, range(given.seeds))):
            found = verification.measured(model)
            first = first or found
            rows.append((name, str(seed), found["test"]["network"]))
            speed.append(f"{name}, seed {seed}: {_speed(found)}")
    rows += [(name, "-", first["test"][name]) for name in BASELINES]
    print(verification.counts(first), end="\n\n")
    print(verification.figure_table(rows), end="\n\n")
    print(*speed, sep="\n")


def _speed(found: dict[str, Any]) -> str:
    return f"{found['training']['pairs_per_second']:.0f} pairs/s in training"


if __name__ == "__main__":
    main()
