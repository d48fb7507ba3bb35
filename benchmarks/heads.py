"""Does either head ruin the other? `python -m benchmarks.heads STUDY PLANTED --seeds 0 1 2 [--set test]`

STUDY is the folder that `change_models` has been run in, PLANTED that of `planted`. Three networks a seed: identity
only (the trunk learns from it, change is the plain deviation), change only (identity as it starts), and both. Identity
AUC is that of the study's test patients; change AUC is that of planted pairs against those without change, once by the
change head and once by the distance of the two embeddings, which is what a network for identity alone would offer.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import planted
from benchmarks.planted import NONE
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.network import change_inference
from siamese_med.network.siamese import SiameseNetwork, compute_distance_matrix, embed_scans, measure_distances
from siamese_med.pipeline import stages
from siamese_med.preparation import aligned_volumes
from siamese_med.scoring.change import change_map
from siamese_med.scoring.change.pair_registration import PairSpace
from siamese_med.study.config import Config, TrainConfig
from siamese_med.study.tables import Study
from siamese_med.training import identity_training, train_model, training_scans

STEPS = 600
UNTRAINED = {"learning_rate": 1e-12, "epochs": 1, "steps_per_epoch": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "identity only": {"change_steps": 0},
    "change only": UNTRAINED,
    "both": {},
}


def main() -> None:
    """Train the three of every seed and print their figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("study", type=Path)
    arguments.add_argument("planted", type=Path)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--set", default="test", help="of the planted pairs")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    rows = []
    for seed in given.seeds:
        for name, settings in VARIANTS.items():
            config = TrainConfig.model_validate({"seed": seed, "change_steps": given.steps, **settings})
            rows.append({"seed": seed, "variant": name, **_figures(given, config)})
            print(json.dumps(rows[-1]), flush=True)
    table = pd.DataFrame(rows).groupby("variant", sort=False).mean(numeric_only=True).drop(columns="seed")
    print(table.round(3).to_string())
    if given.json:
        given.json.write_text(json.dumps(rows))


def _figures(given: argparse.Namespace, config: TrainConfig) -> dict[str, Any]:
    study = Study(given.study / "data", given.study / "reports", Config(train=config))
    network, template = _trained(study)
    pairs, prepared = stages.read_pairs(study), stages.prepare(study)
    usable = training_scans.select_usable_scans(stages.scans(study), prepared, pairs)
    test = training_scans.collect_training_data(study, usable, pairs, prepared.template)[0]["test"]
    apart = compute_distance_matrix(network, embed_scans(network, test))
    first, second = np.triu_indices(len(test.labels), 1)
    same = test.labels[first] == test.labels[second]
    found = pd.DataFrame(list(_on_planted(network, template, given.planted, given.set)))
    return {
        "identity_auc": round(float(roc_auc_score(same, -apart[first, second])), 4),
        **{
            f"change_auc_{name}": round(float(roc_auc_score(found.changed, found[name])), 4)
            for name in ("head", "distance")
        },
        "pairs": len(found),
        "changed": int(found.changed.sum()),
    }


def _trained(study: Study) -> tuple[SiameseNetwork, Path]:
    """The network of one variant, and the template that it looks at; everything else about it is thrown away."""
    prepared, pairs, scans = stages.prepare(study), stages.read_pairs(study), stages.scans(study)
    usable = training_scans.select_usable_scans(scans, prepared, pairs)
    cohorts, explicit = training_scans.collect_training_data(study, usable, pairs, prepared.template)
    sources = train_model.prepare_change_sources(study, usable, prepared, pairs, study.data / "exercises")
    with tempfile.TemporaryDirectory() as folder:
        network, _progress = identity_training.train_network(
            cohorts["train"], cohorts["validation"], explicit, study.config.train, Path(folder), sources
        )
    return network, prepared.template


def _on_planted(network: SiameseNetwork, template: Path, folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """By how much each planted pair seems changed, by the head and by the embeddings' distance."""
    study = volume.read_volume(template)
    for pair in planted.pairs(folder, name):
        laid = pair.overlay
        grid = laid.space
        yield {
            "changed": pair.facts.family != NONE,
            "head": change_map.compute_q_norm(
                change_inference.infer_change_evidence(network.watcher, laid.a, laid.b, laid.inside), grid
            ),
            "distance": _distance(network, [laid.a, laid.b], grid, study),
        }


def _distance(network: SiameseNetwork, scans: list[torch.Tensor], grid: PairSpace, template: Volume) -> float:
    aligned = [aligned_volumes.align_scan(Volume(scan.numpy(), grid.affine), template).voxels for scan in scans]
    batch = torch.from_numpy(np.stack(aligned).astype(np.float32))[:, None]
    with torch.inference_mode():
        embedded = network(network.cut(batch))
    return float(measure_distances(network, embedded[:1], embedded[1:])[0])


if __name__ == "__main__":
    main()
