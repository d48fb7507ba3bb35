"""Ranks that share a batch take the step that one rank would take with the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from siamese_med.study.config import TrainConfig
from siamese_med.training import rank_batches
from siamese_med.training.augmentation import build_augmentation
from tests.commands import ROOT
from tests.training import one_step

RANKS = 2


@pytest.mark.parametrize(("count", "ranks"), [(6, 2), (7, 2), (3, 4), (1, 3), (32, 3)])
def test_everything_is_somebodys_and_counts_once(count: int, ranks: int) -> None:
    fabrics = [SimpleNamespace(world_size=ranks, global_rank=rank) for rank in range(ranks)]
    parts = [rank_batches.find_rank_positions(count, fabric) for fabric in fabrics]
    assert len({len(part) for part in parts}) == 1
    counted = [
        part[~rank_batches.find_repeated_positions(count, fabric)] for part, fabric in zip(parts, fabrics, strict=True)
    ]
    assert np.concatenate(counted).tolist() == list(range(count))
    assert np.concatenate(parts)[:count].tolist() == list(range(count))  # the order in which they are gathered


@pytest.mark.parametrize("share", [[0, 1, 2], [3, 4, 0]])
def test_a_scan_is_augmented_in_the_same_way_in_a_share_as_in_the_whole_batch(share: list[int]) -> None:
    scans, subjects = torch.rand(5, 1, 16, 16, 12), torch.tensor([4, 4, 2, 2, 9])
    augment = build_augmentation(TrainConfig(augmentation_strength=1.0))
    whole = augment.set_random_state(3)({"image": scans, "subject": subjects})["image"]
    mine = {"image": scans[share], "subject": subjects[share], "batch_subject": subjects, "place": share}
    assert torch.equal(augment.set_random_state(3)(mine)["image"], whole[share])


@pytest.mark.long
def test_loss_and_gradients_of_a_step_are_those_of_one_rank(tmp_path: Path) -> None:
    one_step.write(tmp_path)
    command = [sys.executable, "-m", "tests.training.one_step", str(tmp_path)]
    environment = {
        **os.environ,
        "TORCHELASTIC_RUN_ID": "test",  # by which Lightning knows that somebody else starts the ranks
        "WORLD_SIZE": str(RANKS),
        "LOCAL_WORLD_SIZE": str(RANKS),
        rank_batches.STORE_VARIABLE: str(tmp_path / "store"),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    ranks = [
        subprocess.Popen(command, cwd=ROOT, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(RANKS)
    ]
    alone = one_step.found(tmp_path, 1)
    assert alone["supcon encoder.path.2.weight"].norm() > 1  # clipping would have hidden its scale
    assert [rank.wait(300) for rank in ranks] == [0] * RANKS
    for rank in range(RANKS):
        shared = torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)
        assert shared.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(shared[name], expected, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
