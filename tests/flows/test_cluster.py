"""Work on an external Dask cluster, one of whose workers is killed midway: the same results, by one writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from siamese_med import parallel
from tests import results
from tests.flows.conftest import CONFIG, Tiny

WORKER = ["--nthreads", "1", "--nworkers", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]


@pytest.fixture
def cluster(tiny: Tiny, tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process of its own; the address, and the workers."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    dask += ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": tiny.user.environment}
    scheduler = subprocess.Popen(dask, **quiet)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), *WORKER]
    workers = [
        subprocess.Popen([*worker, "--local-directory", str(tmp_path / name)], **quiet) for name in ("one", "two")
    ]
    deadline = time.monotonic() + 60
    while not file.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    import json

    yield json.loads(file.read_text())["address"], workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def test_a_cluster_that_loses_a_worker_gives_the_same_results(
    tiny: Tiny, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    config = tmp_path / "config.toml"
    config.write_text(f'{CONFIG}\n[run]\ndask = "{address}"\n')
    run = tiny.user.start(*tiny.run(tmp_path, config), cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("data/prepared/*/volumes/*.json")):
        assert run.poll() is None, (tmp_path / "log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(workers[0].pid, signal.SIGKILL)
    assert run.wait(400) in (0, 4), (tmp_path / "log.txt").read_text()
    for folder in ("data", "reports"):
        assert results.of_files(tmp_path / folder) == results.of_files(tiny.whole / folder)
    catalogues = [results.of_catalogue(f"sqlite:///{place}/data/catalogue.sqlite") for place in (tmp_path, tiny.whole)]
    assert catalogues[0] == catalogues[1]
    labels = {name.rpartition(" ")[0] for (name,) in tiny.user.query("select name from task_run")}
    assert {"look at", "convert", "aligning scans", "scoring pairs"} <= labels


def test_a_scheduler_that_does_not_answer_is_said_in_one_line(tiny: Tiny, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'{CONFIG}\n[run]\ndask = "tcp://127.0.0.1:9"\n')
    done = tiny.user.call(*tiny.run(tmp_path, config), cwd=tmp_path)
    assert done.returncode == 2
    assert "run.dask" in done.stderr.strip().splitlines()[-1]


def test_jobs_travel_in_batches_as_they_are_asked_for() -> None:
    asked = []

    def jobs() -> Iterator[int]:
        for number in range(7):
            asked.append(number)
            yield number

    upcoming = parallel.batches(jobs(), 3)
    assert next(upcoming) == [0, 1, 2]
    assert asked == [0, 1, 2]
    assert list(upcoming) == [[3, 4, 5], [6]]
