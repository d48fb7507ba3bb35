"""Work on an external Dask cluster, one of whose workers is killed midway: the same results, by one writer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from siamese_med.cli import console_output
from siamese_med.flows import dask_work
from siamese_med.flows.failures import StageFailed
from siamese_med.runtime import parallel
from tests import results
from tests.clusters import cluster
from tests.flows.conftest import CONFIG, Tiny


@pytest.mark.long
def test_a_cluster_that_loses_a_worker_gives_the_same_results(tiny: Tiny, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with cluster(tmp_path / "dask", 2, tiny.user.environment) as (address, workers):
        config.write_text(f'{CONFIG}\n[run]\ndask = "{address}"\n')
        run = tiny.user.start(*tiny.run(tiny.trained(tmp_path), config), cwd=tmp_path)  # training is not spread
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("data/prepared/*/volumes/*.json")):
            assert run.poll() is None, (tmp_path / "log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers[0].kill()
        assert run.wait(400) in (0, 4), (tmp_path / "log.txt").read_text()
    for folder in ("data", "reports"):
        assert results.of_files(tmp_path / folder) == results.of_files(tiny.whole / folder)
    catalogues = [results.of_catalogue(f"sqlite:///{place}/data/catalogue.sqlite") for place in (tmp_path, tiny.whole)]
    assert catalogues[0] == catalogues[1]
    labels = {name.rpartition(" ")[0] for (name,) in tiny.user.query("select name from task_run")}
    assert {"look at", "convert", "aligning scans", "scoring pairs"} <= labels


def test_a_scheduler_that_does_not_answer_is_an_error_of_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_work, "DASK_CONNECT_TIMEOUT_S", 1)
    with pytest.raises(StageFailed) as caught, dask_work.spread_over_dask("tcp://127.0.0.1:9"):
        pytest.fail("connected to nobody")
    message, code, _ = console_output.explain_error(caught.value)
    assert ("run.dask" in message, code) == (True, 2)


@pytest.mark.long
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

    upcoming = parallel.split_into_batches(jobs(), 3)
    assert next(upcoming) == [0, 1, 2]
    assert asked == [0, 1, 2]
    assert list(upcoming) == [[3, 4, 5], [6]]
