"""Training over several processes ("ranks"): `train.devices` of them on each of `train.hosts` hosts, by torchrun.

`train_on_ranks` writes a job file with paths and settings into the training's folder. It has torchrun start the ranks
in a process group of its own and reads the checkpoints that every training leaves. Each rank runs the ordinary loop on
its share of every batch. The ranks end with the process that called `train_on_ranks`, however that process ends.

With several hosts, one of them runs the train stage. On each of the others, with the data folder and the package at
the same paths, start its part with

    python -m siamese_med.training.distributed DATA/models/.building-ID/job.json

`train_on_ranks` starts the same command on its own host; it ends with the others. Anybody who can reach the rendezvous
can take part, so the network between the hosts must be trusted. The ranks of a single host meet in a file and use the
loopback interface only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from siamese_med.errors import RanksError
from siamese_med.runtime.processes import end_with_parent, run_process_group
from siamese_med.runtime.progress import show_progress
from siamese_med.runtime.supervisor import run_under_supervisor

if TYPE_CHECKING:
    from siamese_med.network.scan_dataset import ScanDataset
    from siamese_med.network.siamese import SiameseNetwork
    from siamese_med.study.config import TrainConfig
    from siamese_med.training.identity_training import Pairs, Sources, TrainingProgress
    from siamese_med.training.synthetic_follow_ups import ChangeSource

JOB_FILE, LOG_FILE, STEPS_FILE = "job.json", "ranks.log", "steps"
"""Files of the ranks: their job, what they print, and a file that grows by one byte for every step."""
AGENT_VARIABLE = "SIAMESE_MED_AGENT"
"""Environment variable with the process id of torchrun; a rank ends when that process does."""
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
"""Rendezvous hosts for which everything stays on the loopback interface."""
POLL_INTERVAL_S = 0.2
"""Seconds between two updates of the progress display."""


class SourceEntry(TypedDict):
    """One `ChangeSource` of a job file, with an absolute path."""

    path: str
    middle: float
    spacing_mm: float
    paired: bool
    marked: bool


class CohortEntry(TypedDict):
    """One `ScanDataset` of a job file, with absolute paths; patients are numbers in the order of their pseudonyms."""

    volumes: list[str]
    labels: list[int]
    sessions: list[str] | None
    days: list[float | None] | None
    affine: list[list[float]] | None


class RankJob(TypedDict):
    """Content of a job file.

    `cohorts` are those of training and validation; `pairs` and `sources` are those of `train_on_ranks`.
    """

    config: dict[str, object]
    cohorts: list[CohortEntry]
    pairs: list[list[tuple[int, int]]] | None
    sources: list[list[SourceEntry]] | None


def train_on_ranks(
    train: ScanDataset,
    validation: ScanDataset,
    pairs: tuple[Pairs, Pairs] | None,
    config: TrainConfig,
    folder: Path,
    sources: Sources | None = None,
) -> tuple[SiameseNetwork, TrainingProgress]:
    """Train as `identity_training.train_network` does, with as many ranks as the configuration asks for.

    Call it from the main thread, because Linux ends the ranks with the thread that started them.

    Parameters
    ----------
    train, validation, pairs, config, folder, sources
        As for `identity_training.train_network`.

    Raises
    ------
    NotEnoughDataError
        If there are too few scans or patients.
    RanksError
        If a rank fails; training again resumes from the last checkpoint.
    """
    from siamese_med.training import identity_training

    if config.ranks > 1:
        identity_training.require_pairs(train, validation)
        files_of_ours = [folder / name for name in (JOB_FILE, LOG_FILE, STEPS_FILE)]
        (folder / STEPS_FILE).unlink(missing_ok=True)
        _write_job(folder / JOB_FILE, train, validation, pairs, config, sources)
        with show_progress("training", identity_training.count_training_steps(config, sources)) as advance:
            _run_host(folder, config, advance)
        for path in files_of_ours:
            path.unlink(missing_ok=True)
    # after the ranks have finished, this only reads the best weights from the checkpoints
    alone = config.model_copy(update={"devices": 1, "hosts": 1}) if config.ranks > 1 else config
    return identity_training.train_network(train, validation, pairs, alone, folder, sources)


def _run_host(folder: Path, config: TrainConfig, advance: Callable[[int], None]) -> None:
    """Start this host's part and wait until it ends."""
    if config.hosts > 1:
        sys.stderr.write(
            f"on each of the other hosts: python -m siamese_med.training.distributed {folder / JOB_FILE}\n"
        )
        sys.stderr.flush()
    command = [sys.executable, "-m", "siamese_med.training.distributed", str(folder / JOB_FILE)]
    seen = 0
    with (folder / LOG_FILE).open("wb") as log, run_process_group(command, output=log) as host:
        while host.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                host.wait(POLL_INTERVAL_S)
            done = (folder / STEPS_FILE).stat().st_size if (folder / STEPS_FILE).is_file() else 0
            advance(done - seen)
            seen = done
    if host.returncode != 0:
        raise RanksError(
            f"a training process ended before its work was done: see {folder / LOG_FILE}, then train again, "
            "which goes on from the last checkpoint"
        )


def _write_job(
    path: Path,
    train: ScanDataset,
    validation: ScanDataset,
    pairs: tuple[Pairs, Pairs] | None,
    config: TrainConfig,
    sources: Sources | None,
) -> None:
    """Write a job file."""
    from siamese_med.runtime import files

    files.write_json_file(
        path,
        {
            "config": config.model_dump(mode="json"),
            "cohorts": [_describe_cohort(cohort) for cohort in (train, validation)],
            "pairs": None if pairs is None else [[[int(a), int(b)] for a, b in kind] for kind in pairs],
            "sources": None
            if sources is None
            else [[{**vars(source), "path": str(source.path.absolute())} for source in part] for part in sources],
        },
    )


def _describe_cohort(cohort: ScanDataset) -> CohortEntry:
    return {
        "volumes": [str(volume.absolute()) for volume in cohort.volumes],
        "labels": cohort.labels.tolist(),
        "sessions": None if cohort.sessions is None else list(cohort.sessions),
        "days": None if cohort.days is None else [None if day != day else float(day) for day in cohort.days],
        "affine": None if cohort.affine is None else cohort.affine.tolist(),
    }


def _read_cohort_entry(entry: CohortEntry) -> ScanDataset:
    import numpy as np

    from siamese_med.network.scan_dataset import ScanDataset

    return ScanDataset(
        [Path(volume) for volume in entry["volumes"]],
        [f"{label:08d}" for label in entry["labels"]],
        entry["sessions"],
        None if entry["days"] is None else [float("nan") if day is None else day for day in entry["days"]],
        None if entry["affine"] is None else np.asarray(entry["affine"]),
    )


def _train_as_rank(path: Path) -> None:
    """Train as one rank of a job."""
    from siamese_med.study.config import TrainConfig
    from siamese_med.training import identity_training

    job: RankJob = json.loads(path.read_text(encoding="utf-8"))
    train, validation = (_read_cohort_entry(entry) for entry in job["cohorts"])
    pairs: Any = None if job["pairs"] is None else tuple([(a, b) for a, b in kind] for kind in job["pairs"])
    sources: Any = None
    if job["sources"] is not None:
        sources = tuple([_read_source_entry(entry) for entry in part] for part in job["sources"])
    config = TrainConfig.model_validate(job["config"])
    tally = _StepCounter(path.parent / STEPS_FILE)
    identity_training.train_network(train, validation, pairs, config, path.parent, sources, tally.opened)


def _read_source_entry(entry: SourceEntry) -> ChangeSource:
    from siamese_med.training.synthetic_follow_ups import ChangeSource

    return ChangeSource(Path(entry["path"]), entry["middle"], entry["spacing_mm"], entry["paired"], entry["marked"])


@dataclass(frozen=True)
class _StepCounter:
    """File with one byte for every step done, from which the process that started the ranks shows progress."""

    path: Path

    @contextmanager
    def opened(self, _verb: str, _total: int) -> Iterator[Callable[[int], None]]:
        """Count the steps of rank 0; the other ranks take the same steps and write nothing."""
        nowhere = os.environ["RANK"] != "0"
        with Path(os.devnull if nowhere else self.path).open("wb", buffering=0) as file:

            def advance(steps: int) -> None:
                file.write(b"." * steps)

            yield advance


def _start_ranks(path: Path) -> int:
    """This host's part of a job: torchrun and its ranks; returns the exit status."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from siamese_med.study.config import TrainConfig

    config = TrainConfig.model_validate(json.loads(path.read_text(encoding="utf-8"))["config"])
    os.environ[AGENT_VARIABLE] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // config.devices)))
    with tempfile.TemporaryDirectory(prefix="siamese-med-") as scratch:
        try:
            run.main(
                [*_rendezvous_arguments(config, Path(scratch)), "-m", "siamese_med.training.distributed", str(path)]
            )
        except ChildFailedError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


def _rendezvous_arguments(config: TrainConfig, scratch: Path) -> list[str]:
    """The arguments by which torchrun finds the other hosts; none of it leaves a single host."""
    from siamese_med.training.rank_batches import STORE_VARIABLE

    common = [
        f"--nproc-per-node={config.devices}",
        f"--nnodes={config.hosts}",
        "--rdzv-backend=c10d",
        "--rdzv-id=train",
    ]
    if config.hosts == 1 or str(config.rendezvous).rpartition(":")[0] in LOOPBACK_HOSTS:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
        common.append("--local-addr=127.0.0.1")
        socket.getfqdn = lambda name="": name or socket.gethostname()  # torchrun's logs would ask a name server
    if config.hosts > 1:
        return [*common, f"--rdzv-endpoint={config.rendezvous}"]
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # it would listen on every address of this host
    os.environ[STORE_VARIABLE] = str(scratch / "ranks")
    return [*common, "--rdzv-conf=store_type=file", f"--rdzv-endpoint={scratch / 'hosts'}"]


def main(arguments: Sequence[str]) -> int:
    """Run as one rank if torchrun started this process, else as one host's part, which users may start and interrupt.

    Parameters
    ----------
    arguments
        The path of the job file.

    Returns
    -------
    int
        Exit status: 0, or 1 if a rank failed.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        run_under_supervisor()
        return _start_ranks(Path(arguments[0]))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # torchrun ends the other ranks by SIGTERM where one has failed
    agent = os.environ.get(AGENT_VARIABLE)
    end_with_parent(None if agent is None else int(agent))
    _train_as_rank(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
