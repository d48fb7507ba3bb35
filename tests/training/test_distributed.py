"""Two ranks that torchrun starts: they learn what one learns, go on after a kill, and outlive nobody."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.study.config import TrainConfig
from siamese_med.training import distributed, identity_training, synthetic_follow_ups
from siamese_med.training.identity_training import TrainingProgress
from siamese_med.training.synthetic_follow_ups import ChangeSource
from tests.commands import ROOT

LAUNCHER = """
import sys
from pathlib import Path
from siamese_med.study.config import TrainConfig
from siamese_med.errors import RanksError
from siamese_med.training import distributed
from siamese_med.network.scan_dataset import ScanDataset
config, folder, *volumes = sys.argv[1:]
cohort = ScanDataset([Path(path) for path in volumes], [Path(path).stem.rsplit("-", 1)[0] for path in volumes])
try:
    distributed.train_on_ranks(cohort, cohort, None, TrainConfig.model_validate_json(config), Path(folder))
except RanksError as error:
    sys.exit(f"RanksError: {error}")
"""
WAIT_S = 300

pytestmark = [pytest.mark.slow, pytest.mark.long]


@dataclass(frozen=True)
class Lesson:
    """What there is to learn, and what two ranks have made of it that nobody disturbed."""

    cohort: ScanDataset
    sources: tuple[list[ChangeSource], list[ChangeSource]]
    config: TrainConfig
    network: SiameseNetwork
    progress: TrainingProgress

    def same_again(self, config: TrainConfig, folder: Path) -> bool:
        """Whether identity ends with the same weights; on a grid this small it does not see what change has learned."""
        network, _ = distributed.train_on_ranks(self.cohort, self.cohort, None, config, folder)
        parts = [(network.encoder, self.network.encoder), (network.detail, self.network.detail)]
        return all(
            torch.equal(weights, other.state_dict()[name])
            for part, other in parts
            for name, weights in part.state_dict().items()
        )


@pytest.fixture(scope="module")
def lesson(cohort: ScanDataset, brief: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    folder = tmp_path_factory.mktemp("unbroken")
    scan = torch.from_numpy(1 + 0.05 * np.random.default_rng(0).standard_normal((48,) * 3).astype(np.float32))
    source = synthetic_follow_ups.write_change_source(folder / "source.npy", scan, scan, scan > 0, 1.5)
    few = {"width": 4, "epochs": 12, "patience": 12, "change_steps": 4, "change_patches": 1, "devices": 2}
    config = brief.model_copy(update=few)
    network, progress = distributed.train_on_ranks(cohort, cohort, None, config, folder, ([source], [source]))
    left = {path.name for path in folder.iterdir()}
    assert left == {"source.npy", "training_log.csv", "change_log.csv", *identity_training.CHECKPOINT_FILES}
    return Lesson(cohort, ([source], [source]), config, network, progress)


def test_two_ranks_learn_what_one_learns(lesson: Lesson, tmp_path: Path) -> None:
    alone = lesson.config.model_copy(update={"devices": 1})
    _, progress = distributed.train_on_ranks(lesson.cohort, lesson.cohort, None, alone, tmp_path, lesson.sources)
    for one, shared in zip(progress.log, lesson.progress.log, strict=True):
        assert shared.validation_auc == pytest.approx(one.validation_auc, abs=0.01)
        assert shared.validation_loss == pytest.approx(one.validation_loss, rel=0.01)
        assert shared.train_loss == pytest.approx(one.train_loss, rel=0.01)
        assert shared.pairs == one.pairs
    checks = list(zip(progress.practised, lesson.progress.practised, strict=True))
    one, shared = (check.validation_loss for check in checks[0])
    assert shared == pytest.approx(one, rel=1e-4)  # before training, of the same patches
    one, shared = (check.validation_loss for check in checks[-1])
    assert shared == pytest.approx(one, rel=0.05)  # after steps on patches of its own


def test_no_rank_outlives_whoever_started_it_and_the_next_run_goes_on(lesson: Lesson, tmp_path: Path) -> None:
    volumes = map(str, lesson.cohort.volumes)
    command = [sys.executable, "-c", LAUNCHER, lesson.config.model_dump_json(), str(tmp_path), *volumes]
    for how in ("kill a rank", "kill"):  # politely ended by Prefect: tests/flows/test_serving.py
        done = epochs(tmp_path)
        launcher = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        wait_for(lambda seen=done, at=launcher: epochs(tmp_path) > seen or at.poll() is not None)
        workers = [pid for pid in running(tmp_path) if is_rank(pid)]
        assert len(workers) == 2, how
        if how == "kill a rank":
            os.kill(workers[1], signal.SIGKILL)
        else:
            launcher.send_signal(signal.SIGKILL)
        _, complaint = launcher.communicate(timeout=WAIT_S)
        wait_for(lambda: not running(tmp_path), 15)
        assert not running(tmp_path), how
        if how == "kill a rank":
            assert complaint.startswith("RanksError: a training process ended before its work was done")
            assert complaint.count("\n") == 1
        assert done < epochs(tmp_path) < lesson.config.epochs, how
    assert lesson.same_again(lesson.config, tmp_path)


def test_two_hosts_meet_and_learn_what_two_ranks_of_one_learn(lesson: Lesson, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{free.getsockname()[1]}"
    apart = {"devices": 1, "hosts": 2, "rendezvous": rendezvous}
    config = TrainConfig.model_validate({**lesson.config.model_dump(), **apart})
    job = tmp_path / distributed.JOB_FILE
    waiting = f"until [ -f {job} ]; do sleep 0.1; done; exec {sys.executable} -m siamese_med.training.distributed {job}"
    other = subprocess.Popen(["bash", "-c", waiting], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        assert lesson.same_again(config, tmp_path)
        assert other.wait(WAIT_S) == 0
    finally:
        other.kill()


def epochs(folder: Path) -> int:
    """How many a checkpoint holds."""
    path = folder / identity_training.IDENTITY_CHECKPOINT
    return len(torch.load(path, weights_only=True)["log"]) if path.is_file() else 0


def running(folder: Path) -> list[int]:
    """Processes whose command names the job of a folder: ranks, and the torchrun that started them."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if str(folder / distributed.JOB_FILE) in told(pid, "cmdline")]


def is_rank(pid: int) -> bool:
    return "\0RANK=" in told(pid, "environ")


def told(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text(errors="replace")
    except OSError:
        return ""


def wait_for(condition: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
