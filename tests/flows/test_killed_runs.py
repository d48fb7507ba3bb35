"""A recorded run that is killed: nothing of it goes on, the next run completes it, and Prefect says what happened."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests import results
from tests.flows.conftest import Tiny
from tests.recorded import done_work

MARKS = {"prepared": "data/prepared/*/volumes/*.json", "scored": "data/scores/*/*.json"}
"""By when to kill: as soon as there is one of these."""
PATIENCE_S = 1800
"""For a run that never gets so far. On a busy machine 300 s are too few."""


@pytest.mark.long
@pytest.mark.parametrize("moment", ["scored", "prepared"])
def test_a_killed_run_leaves_no_process_and_the_next_completes_it(tiny: Tiny, tmp_path: Path, moment: str) -> None:
    if moment == "scored":  # by then scans are aligned, and training is over
        tiny.trained(tmp_path, "prepared")
    run = tiny.user.start(*tiny.run(tmp_path), cwd=tmp_path)
    deadline = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob(MARKS[moment])):
        assert run.poll() is None, (tmp_path / "log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.kill()
    run.wait()
    assert tiny.user.left() == {}
    assert tiny.user.unfinished()  # Prefect has not noticed
    before = done_work(tmp_path / "data")
    assert before
    done = tiny.user.call(*tiny.run(tmp_path), cwd=tmp_path)
    assert done.returncode in (0, 4), done.stderr
    after = done_work(tmp_path / "data")
    assert {name: after[name] for name in before} == before
    assert tiny.user.unfinished() == []
    assert ("CRASHED",) in tiny.user.query("select state_type from flow_run")
    assert tiny.user.left() == {}
    for folder in ("data", "reports"):
        assert results.of_files(tmp_path / folder) == results.of_files(tiny.whole / folder)
    catalogues = [results.of_catalogue(f"sqlite:///{place}/data/catalogue.sqlite") for place in (tmp_path, tiny.whole)]
    assert catalogues[0] == catalogues[1]
    told = [place / "data" / results.TOLD_TO_PREFECT for place in (tmp_path, tiny.whole)]
    announced = [json.loads(path.read_text()) if path.is_file() else [] for path in told]  # nothing may have changed
    assert len(announced[0]) == len(set(announced[0]))
    assert set(announced[0]) >= set(announced[1])
    assert tiny.outside() == set()  # what a run without any network does is tested by make test-long
