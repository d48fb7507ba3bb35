"""The change head learns what it is shown, keeps what validation speaks for, and goes on after a kill."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from siamese_med.network import atlas, change_inference
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.study.config import TrainConfig
from siamese_med.training import change_training, synthetic_follow_ups
from siamese_med.training.synthetic_follow_ups import ChangeSource

SHAPE = (48, 48, 48)
BRIEF = TrainConfig(
    width=4, embedding_size=4, change_steps=8, change_patches=2, change_learning_rate=1e-2, accelerator="cpu"
)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[ChangeSource]:
    folder = tmp_path_factory.mktemp("sources")
    found = []
    for number in range(2):
        rng = np.random.default_rng(number)
        scan = torch.from_numpy(1 + 0.05 * rng.standard_normal(SHAPE).astype(np.float32))
        found.append(synthetic_follow_ups.write_change_source(folder / f"{number}.npy", scan, scan, scan > 0, 1.5))
    return found


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_training, "VALIDATION_INTERVAL_STEPS", 4)
    monkeypatch.setattr(change_training, "VALIDATION_BATCHES", 2)


def network() -> SiameseNetwork:
    torch.manual_seed(0)
    return SiameseNetwork(BRIEF, atlas.build_empty_atlas(SHAPE, tuple((0, n) for n in SHAPE)))


def learn(into: SiameseNetwork, sources: list[ChangeSource], folder: Path, stop_after: int | None = None) -> None:
    steps = 0

    def advance(count: int) -> None:
        nonlocal steps
        steps += count
        if stop_after is not None and steps >= stop_after:
            raise KilledError

    change_training.train_change_head(
        into, (sources[:1], sources[1:]), BRIEF, folder, Fabric(accelerator="cpu", devices=1), advance
    )


@pytest.mark.long
def test_after_a_kill_it_ends_with_the_weights_of_an_unbroken_run(sources: list[ChangeSource], tmp_path: Path) -> None:
    whole, broken = network(), network()
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    learn(whole, sources, tmp_path / "whole")
    with pytest.raises(KilledError):
        learn(network(), sources, tmp_path / "broken", stop_after=6)
    learn(broken, sources, tmp_path / "broken")
    for name, weights in whole.change.state_dict().items():
        torch.testing.assert_close(weights, broken.change.state_dict()[name], msg=name)


def test_the_log_begins_before_training_and_the_best_is_no_worse(sources: list[ChangeSource], tmp_path: Path) -> None:
    learn(network(), sources, tmp_path)
    with (tmp_path / "change_log.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == [0, 4, 8]
    assert min(float(line["validation_loss"]) for line in lines) <= float(lines[0]["validation_loss"])


def test_training_that_makes_it_worse_leaves_the_weights_as_they_were(
    sources: list[ChangeSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_training, "_validation_loss", lambda *_: next(losses))
    losses = iter(range(1, 99))  # worse at every check
    before, after = network(), network()
    learn(after, sources, tmp_path)
    for name, weights in before.state_dict().items():
        assert torch.equal(weights, after.state_dict()[name]), name


def test_only_trunk_and_change_head_learn(sources: list[ChangeSource], tmp_path: Path) -> None:
    before, after = network(), network()
    learn(after, sources, tmp_path)
    moved = {
        name.split(".")[0]
        for name, weights in after.state_dict().items()
        if not torch.equal(weights, before.state_dict()[name])
    }
    assert moved <= {"trunk", "change"}


def test_a_lesion_in_a_whole_pair_is_where_the_evidence_is() -> None:
    rng = np.random.default_rng(9)
    body = torch.from_numpy(1 + 0.03 * rng.standard_normal((50, 44, 41)).astype(np.float32))
    later = body + torch.from_numpy(0.03 * rng.standard_normal(body.shape).astype(np.float32))
    later[20:25, 18:23, 15:20] += 0.5
    inside = body > 0
    inside[:5] = False
    found = change_inference.infer_change_evidence(network().watcher, body, later, inside)
    assert found.shape == body.shape
    assert (found[:5] == 0).all()
    i, j, k = np.unravel_index(int(found.argmax()), found.shape)
    assert 20 <= i < 25
    assert 18 <= j < 23
    assert 15 <= k < 20
    torch.testing.assert_close(
        change_inference.infer_change_evidence(network().watcher, later, body, inside), -found, atol=1e-5, rtol=1e-5
    )
    assert (change_inference.infer_change_evidence(network().watcher, body, body, inside) == 0).all()
