"""The change head learns what it is shown, keeps what validation speaks for, and goes on after a kill."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from siamese_med.config import TrainConfig
from siamese_med.network import atlas, detection, practice, synthesis
from siamese_med.network.siamese import Siamese
from siamese_med.network.synthesis import Source

SHAPE = (48, 48, 48)
BRIEF = TrainConfig(width=4, embedding=4, change_steps=8, change_patches=2, change_rate=1e-2, accelerator="cpu")


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    folder = tmp_path_factory.mktemp("sources")
    found = []
    for number in range(2):
        rng = np.random.default_rng(number)
        scan = torch.from_numpy(1 + 0.05 * rng.standard_normal(SHAPE).astype(np.float32))
        found.append(synthesis.write(folder / f"{number}.npy", scan, scan, scan > 0, 1.5))
    return found


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "CHECK_EVERY", 4)
    monkeypatch.setattr(practice, "CHECKED_BATCHES", 2)


def network() -> Siamese:
    torch.manual_seed(0)
    return Siamese(BRIEF, atlas.blank(SHAPE, tuple((0, n) for n in SHAPE)))


def learn(into: Siamese, sources: list[Source], folder: Path, stop_after: int | None = None) -> None:
    steps = 0

    def advance(count: int) -> None:
        nonlocal steps
        steps += count
        if stop_after is not None and steps >= stop_after:
            raise KilledError

    practice.fit(into, (sources[:1], sources[1:]), BRIEF, folder, Fabric(accelerator="cpu", devices=1), advance)


def test_after_a_kill_it_ends_with_the_weights_of_an_unbroken_run(sources: list[Source], tmp_path: Path) -> None:
    whole, broken = network(), network()
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    learn(whole, sources, tmp_path / "whole")
    with pytest.raises(KilledError):
        learn(network(), sources, tmp_path / "broken", stop_after=6)
    learn(broken, sources, tmp_path / "broken")
    for name, weights in whole.change.state_dict().items():
        torch.testing.assert_close(weights, broken.change.state_dict()[name], msg=name)


def test_the_log_begins_before_training_and_the_best_is_no_worse(sources: list[Source], tmp_path: Path) -> None:
    learn(network(), sources, tmp_path)
    with (tmp_path / "change_log.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == [0, 4, 8]
    assert min(float(line["validation_loss"]) for line in lines) <= float(lines[0]["validation_loss"])


def test_only_trunk_and_change_head_learn(sources: list[Source], tmp_path: Path) -> None:
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
    found = detection.found(network().watcher, body, later, inside)
    assert found.shape == body.shape
    assert (found[:5] == 0).all()
    i, j, k = np.unravel_index(int(found.argmax()), found.shape)
    assert 20 <= i < 25
    assert 18 <= j < 23
    assert 15 <= k < 20
    torch.testing.assert_close(detection.found(network().watcher, later, body, inside), -found, atol=1e-5, rtol=1e-5)
    assert (detection.found(network().watcher, body, body, inside) == 0).all()
