"""One step of each training, with the gradients before they are clipped; `python -m tests.training.one_step FOLDER`.

It runs as one rank of as many as the environment says, on the material that `write` has left in the folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from siamese_med.network import atlas
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.study.config import TrainConfig
from siamese_med.training import change_training, identity_training, rank_batches
from siamese_med.training.synthetic_follow_ups import ChangeBatch

EDGE, PATCHES = 24, 3
SUBJECTS = [f"sub-{scan // 2}" for scan in range(7)]
"""Seven scans do not come out even on two ranks, and neither do three patches."""
RECIPES = ("supcon", "bce")


def write(folder: Path) -> None:
    """Scans of 24^3, large enough for an atlas and the trunk, and patches."""
    rng = np.random.default_rng(0)
    for scan in range(len(SUBJECTS)):
        np.save(folder / f"{scan}.npy", rng.uniform(0.5, 1.5, (EDGE,) * 3).astype(np.float16))
    sides = rng.uniform(0.5, 1.5, (2, PATCHES, 1, *(2 * [16]), 16)).astype(np.float32)
    np.save(folder / "patches.npy", sides)


def found(folder: Path, devices: int) -> dict[str, Tensor]:
    """Loss and gradients of one step, by name."""
    cohort = ScanDataset([folder / f"{scan}.npy" for scan in range(len(SUBJECTS))], SUBJECTS)
    fabric = rank_batches.launch_fabric(TrainConfig(accelerator="cpu", devices=devices))
    fabric.clip_gradients = lambda *_, **__: None  # type: ignore[method-assign] # it would hide a wrong scale
    results: dict[str, Tensor] = {}
    for recipe in RECIPES:
        config = TrainConfig(loss=recipe, width=4, embedding_size=6, patients_per_batch=4, epochs=1, steps_per_epoch=1)
        torch.manual_seed(0)
        network = SiameseNetwork(config, atlas.fit_atlas(cohort))
        network.change.requires_grad_(False)
        nn.init.normal_(network.detail.weight, std=0.01)  # else nothing of the identity's gradient reaches the trunk
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        model, optimizer = fabric.setup(network, torch.optim.SGD(learning, lr=0.0))
        epoch = identity_training._run_epoch(0, fabric, model, optimizer, cohort, cohort, None, config, lambda _: None)
        results |= {f"{recipe} loss": torch.tensor([epoch.train_loss, epoch.validation_loss, epoch.validation_auc])}
        results |= _gradients(recipe, network)
    return results | _of_change(folder, network, fabric)


def _of_change(folder: Path, network: SiameseNetwork, fabric: Any) -> dict[str, Tensor]:
    parts = network.watcher.requires_grad_(True)
    parts.zero_grad()
    mine = rank_batches.find_rank_positions(PATCHES, fabric)
    earlier, later = torch.from_numpy(np.load(folder / "patches.npy"))[:, mine]
    truth = torch.sign(later - earlier) * ((later - earlier).abs() > 0.6)
    weight = torch.full_like(truth, 0.5)
    weight[torch.from_numpy(rank_batches.find_repeated_positions(PATCHES, fabric))] = 0
    made = ChangeBatch(earlier, later, torch.ones_like(truth), truth, weight)
    nn.init.normal_(parts.change.voxels.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.0)
    with patch.object(nn.utils, "clip_grad_norm_"):
        loss = change_training._train_step(fabric.strategy.setup_module(parts), parts, optimizer, made, fabric)
    return {"change loss": torch.tensor(loss), **_gradients("change", parts)}


def _gradients(name: str, module: nn.Module) -> dict[str, Tensor]:
    parameters = {path: parameter for path, parameter in module.named_parameters() if parameter.grad is not None}
    return {f"{name} {path}": parameter.grad.clone() for path, parameter in parameters.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    results = found(folder, int(os.environ["WORLD_SIZE"]))
    torch.save(results, folder / f"rank-{os.environ['RANK']}.pt")
