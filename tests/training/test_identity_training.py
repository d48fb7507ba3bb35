"""Training ends the same way whatever happens on the way, and stops when nothing gets better."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from siamese_med.errors import NotEnoughDataError
from siamese_med.network import model_folder
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import compute_distance_matrix, embed_scans, split_embeddings
from siamese_med.runtime import files
from siamese_med.study.config import TrainConfig
from siamese_med.training import identity_training
from siamese_med.training.identity_training import TrainingEpoch, TrainingProgress
from tests.commands import ROOT

UNTIL_KILLED = """
import sys, time
from pathlib import Path
from siamese_med.study.config import TrainConfig
from siamese_med.training import identity_training
from siamese_med.network.scan_dataset import ScanDataset
config, folder, *volumes = sys.argv[1:]
save = identity_training._save
def save_and_wait(*arguments):  # for the kill, which so comes after the first checkpoint and before the last
    save(*arguments)
    time.sleep(3600)
identity_training._save = save_and_wait
cohort = ScanDataset([Path(path) for path in volumes], [Path(path).stem.rsplit("-", 1)[0] for path in volumes])
identity_training.train_network(cohort, cohort, None, TrainConfig.model_validate_json(config), Path(folder))
"""


def weights(cohort: ScanDataset, config: TrainConfig, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return model_folder.write_weights(folder, identity_training.train_network(cohort, cohort, None, config, folder)[0])


@pytest.fixture(scope="module")
def unbroken(cohort: ScanDataset, brief: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    weights(cohort, brief, folder)
    return folder


def test_the_same_seed_gives_the_same_weights(
    cohort: ScanDataset, brief: TrainConfig, unbroken: Path, tmp_path: Path
) -> None:
    assert weights(cohort, brief, tmp_path) == files.compute_file_digest(unbroken / model_folder.WEIGHTS_FILE)


def test_another_seed_gives_other_weights(
    cohort: ScanDataset, brief: TrainConfig, unbroken: Path, tmp_path: Path
) -> None:
    other = brief.model_copy(update={"seed": 1})
    assert weights(cohort, other, tmp_path) != files.compute_file_digest(unbroken / model_folder.WEIGHTS_FILE)


@pytest.mark.long
def test_killed_after_its_first_checkpoint_it_ends_with_the_weights_of_an_unbroken_run(
    cohort: ScanDataset, brief: TrainConfig, unbroken: Path, tmp_path: Path
) -> None:
    _kill_after_first_checkpoint(cohort.volumes, brief, tmp_path)
    done = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["log"]
    assert 1 <= len(done) < brief.epochs
    assert weights(cohort, brief, tmp_path) == files.compute_file_digest(unbroken / model_folder.WEIGHTS_FILE)
    epochs = [[row["epoch"] for row in csv.DictReader((f / "training_log.csv").open())] for f in (tmp_path, unbroken)]
    assert epochs[0] == epochs[1]


def _kill_after_first_checkpoint(volumes: Sequence[Path], config: TrainConfig, folder: Path) -> None:
    command = [sys.executable, "-c", UNTIL_KILLED, config.model_dump_json(), str(folder), *map(str, volumes)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})
    limit = time.monotonic() + 600
    while not (folder / "checkpoint.pt").is_file() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_finished_training_is_not_gone_on_with(cohort: ScanDataset, brief: TrainConfig, unbroken: Path) -> None:
    checkpoint = (unbroken / "checkpoint.pt").read_bytes()
    weights(cohort, brief, unbroken)
    assert (unbroken / "checkpoint.pt").read_bytes() == checkpoint


def test_the_checkpoint_holds_tensors_and_plain_values_alone(unbroken: Path) -> None:
    state = torch.load(unbroken / "checkpoint.pt", weights_only=True)
    assert set(state) == {"network", "optimizer", "best", "log"}


def test_training_stops_when_nothing_got_better_for_as_long_as_the_patience(
    cohort: ScanDataset, brief: TrainConfig, tmp_path: Path
) -> None:
    stuck = brief.model_copy(update={"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 9, "patience": 2})
    _, progress = identity_training.train_network(cohort, cohort, None, stuck, tmp_path)
    assert len(progress.log) == 3


@pytest.mark.parametrize(
    ("losses", "finished"),
    [([], False), ([3, 2, 1], False), ([1, 2], False), ([1, 2, 3], True), ([1, 1, 1], True), ([4, 3, 2, 1], True)],
)
def test_patience_counts_from_the_first_best_epoch(losses: list[float], finished: bool) -> None:
    log = [TrainingEpoch(n, 0.0, loss, 0.5, 0.0, 0) for n, loss in enumerate(losses)]
    assert TrainingProgress(log).finished(TrainConfig(epochs=4, patience=2)) is finished


def test_the_network_of_the_best_epoch_comes_back(cohort: ScanDataset, brief: TrainConfig, tmp_path: Path) -> None:
    network, progress = identity_training.train_network(cohort, cohort, None, brief, tmp_path)
    labels = torch.from_numpy(cohort.labels)
    with torch.inference_mode():
        loss = float(network.recipe(split_embeddings(embed_scans(network, cohort))[0], labels, None))
    assert loss == pytest.approx(progress.best.validation_loss, abs=1e-5)


def test_it_learns_to_tell_patients_apart(cohort: ScanDataset, brief: TrainConfig, tmp_path: Path) -> None:
    longer = brief.model_copy(update={"epochs": 6, "steps_per_epoch": 6, "augmentation": 0.0})
    network, progress = identity_training.train_network(cohort, cohort, None, longer, tmp_path)
    assert progress.log[-1].train_loss < progress.log[0].train_loss
    assert progress.best.validation_auc > 0.95
    distance = compute_distance_matrix(network, embed_scans(network, cohort))
    assert (distance == distance.T).all()
    assert (distance.diagonal() == 0).all()


@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, 3), slice(0, 18, 3)])
def test_without_two_patients_and_two_scans_of_one_there_is_too_little_to_learn_from(
    cohort: ScanDataset, brief: TrainConfig, tmp_path: Path, kept: slice
) -> None:
    few = ScanDataset(cohort.volumes[kept], cohort.subjects[kept])
    with pytest.raises(NotEnoughDataError, match="validation") as caught:
        identity_training.train_network(cohort, few, None, brief, tmp_path)
    assert "\n" not in str(caught.value)
