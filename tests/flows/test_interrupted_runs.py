"""A recorded run that is told to end: Prefect hears of it at once, and nothing of the run is left."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.flows.conftest import Tiny


@pytest.mark.long
def test_prefect_is_told_of_an_interruption(tiny: Tiny, tmp_path: Path) -> None:
    tiny.trained(tmp_path)
    run = tiny.user.start(*tiny.run(tmp_path), "--quiet", cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("data/prepared/*/volumes/*.json")):
        assert run.poll() is None, (tmp_path / "log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    assert run.wait(300) == 143
    assert tiny.user.processes() == {}
    assert (tmp_path / "log.txt").read_text() == "siamese-med: interrupted; the same command goes on where it stopped\n"
    assert tiny.user.unfinished() == []
    said = tiny.user.query("select s.message from flow_run r join flow_run_state s on r.state_id = s.id")
    assert ("interrupted; the next run goes on where it stopped",) in said
