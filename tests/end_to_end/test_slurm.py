"""The array example of docs/slurm.md on a SLURM of this machine's own: one participant a task, then the group level."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import documentation, starters, studies
from tests.commands import ROOT
from tests.end_to_end.bids_data import write_bids_data
from tests.studies import Made

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not (shutil.which("slurmctld") and shutil.which("munged")), reason="needs slurm-wlm and munge"),
]
SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def wait_for(what: Callable[[], bool], why: str, started: list[subprocess.Popen[bytes]]) -> None:
    """Return when it holds; fail when a server has ended, or after five minutes."""
    for _ in range(1500):
        if what():
            return
        assert all(process.poll() is None for process in started), why
        time.sleep(0.2)
    raise AssertionError(why)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Variables for SLURM's commands; controller, node and munge are ended with the block."""
    host, (controller, node) = socket.gethostname().split(".")[0], free_ports(2)
    names = {"host": host, "controller": controller, "node": node, "user": os.environ.get("USER", "root")}
    (folder / "slurm.conf").write_text(SETTINGS.format(**names, folder=folder))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    own = {"SLURM_CONF": str(folder / "slurm.conf")}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with (folder / f"{words[0]}.log").open("wb") as log:
            started.append(subprocess.Popen(words, env=os.environ | own, stdout=log, stderr=log))

    def idle() -> bool:
        said = subprocess.run(["sinfo", "-h", "-o", "%T"], env=os.environ | own, capture_output=True, text=True)
        return said.stdout.strip() == "idle"

    files = [f"--{what}={folder}/munge.{end}" for what, end in MUNGE_FILES.items()]
    try:
        start("munged", "--foreground", "--force", *files)
        wait_for((folder / "munge.socket").exists, "munged did not start", started)
        start("slurmctld", "-D", "-i")
        start("slurmd", "-D", "-N", host)
        wait_for(idle, f"no node is idle: see the logs in {folder}", started)
        yield own
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(120)


MUNGE_FILES = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


def test_each_participant_is_a_task_and_the_group_job_collects_all(made_study: Made, tmp_path: Path) -> None:
    folder = tmp_path / "slurm"
    folder.mkdir(mode=0o755)
    write_bids_data(made_study, tmp_path / "bids")
    starter = starters.make_starter(made_study, tmp_path / "starter")
    (tmp_path / "config.toml").write_text(studies.CONFIG_TOML.replace("starter_model = false", "starter_model = true"))
    (tmp_path / "secret").write_bytes(os.urandom(32))
    (tmp_path / "secret").chmod(0o600)
    command = tmp_path / "bin" / "siamese-med-bids"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m siamese_med.cli.bids_app "$@"\n')
    command.chmod(0o755)
    shutil.copy(ROOT / "docs" / "slurm" / "participants.sbatch", tmp_path)
    (block,) = [one for one in documentation.blocks(ROOT / "docs" / "slurm.md", "console") if "sbatch" in one]
    extra = f" --config {tmp_path}/config.toml --model {starter}"
    script = block.replace("\\\n", " ").replace("$ ", "").replace("participants.sbatch", f"participants.sbatch{extra}")
    path = f"{command.parent}:{os.environ['PATH']}"
    with cluster(folder) as own:
        own |= {"PATH": path, "PYTHONPATH": str(ROOT), "SIAMESE_MED_SECRET_FILE": str(tmp_path / "secret")}
        typed = ["bash", "-euc", script]
        done = subprocess.run(typed, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

        def finished() -> bool:
            said = subprocess.run(["squeue", "-h"], env=os.environ | own, capture_output=True, text=True)
            return said.returncode == 0 and not said.stdout.strip()

        wait_for(finished, "the jobs did not end", [])
    said = {log.name: log.read_text() for log in tmp_path.glob("*.log")} | {"slurm": ""}
    output = tmp_path / "bids" / "derivatives" / "siamese-med"
    assert (output / "group_participants.tsv").is_file(), said
    rows = list(csv.DictReader((output / "group_participants.tsv").open(encoding="utf-8"), delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"], said
    assert len([name for name in said if name.startswith("siamese-med-")]) == 3  # sub-03 has a task and no report
