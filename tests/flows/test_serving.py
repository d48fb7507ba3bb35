"""A workstation that serves two studies, from an empty home: by trigger, by schedule, refused, killed, and up again."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.commands import ROOT
from tests.flows.conftest import Tiny
from tests.recorded import User

EVERY_MINUTE = '[run]\nnightly = "* * * * *"\n'
BY_HAND = '[run]\nnightly = ""\nretrain = ""\n'


PAGE = ROOT / "docs" / "nightly-runs.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FINDING = """
import sys
from pathlib import Path
from siamese_med.flows import events
from siamese_med.pipeline.stage_results import RunRequest, StageResult
from siamese_med.study.tables import Study

pair = {"scan_a": "sub-somebody_ses-01", "scan_b": "sub-somebody_ses-02", "subject_a": "sub-somebody"}
request = RunRequest(Study(Path(sys.argv[1]), Path(sys.argv[1])))
events.emit_finding_events((StageResult("score", {"changed": [pair]}),), request)
"""


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Somebody's chat, on loopback: its address, and what is posted there."""
    heard: list[str] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", heard
    server.shutdown()


class Workstation:
    """Two studies of one export, as far as an undisturbed run leads; `by_hand` has no schedule."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self.folder, self.user = folder, User(folder / "home")
        for name in ("by_hand", "nights"):
            shutil.copytree(tiny.whole / "data", folder / name / "data")
        files = tiny.study(folder / "by_hand", BY_HAND), tiny.study(folder / "nights", EVERY_MINUTE)
        config = folder / "by_hand" / "config.toml"
        config.write_text(config.read_text().replace("[train]", "[train]\ndevices = 2"))
        self.studies = [file.rename(file.with_name(f"{file.parent.name}.toml")) for file in files]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def runs(self) -> list[tuple[str, str, int]]:
        """Every run: its deployment, the name of its state, whether the schedule made it."""
        of_run = "select d.name, r.state_name, r.auto_scheduled from flow_run r"
        rows = self.user.query(f"{of_run} join deployment d on d.id = r.deployment_id")
        return [(str(name), str(state), int(auto)) for name, state, auto in rows]

    def pending(self) -> list[str]:
        """Ids of the runs whose process starts up."""
        found = self.user.query("select id from flow_run where state_type = 'PENDING'")
        return [str(run).replace("-", "") for (run,) in found]

    def pause(self, study: str) -> None:
        """Have a study's runs start no more by themselves, as a press in Prefect's UI does."""
        for (deployment,) in self.user.query(f"select id from deployment where name = '{study}'"):
            address = f"http://127.0.0.1:{self.port}/api/deployments/{deployment}"
            user, _, password = self.exported["PREFECT_API_AUTH_STRING"].partition(":")
            arguments: dict[str, Any] = {"json": {"paused": True}, "auth": (user, password), "timeout": 60}
            while (answer := requests.patch(address, **arguments)).status_code == 503:
                time.sleep(1)  # the server is busy, and says so
            assert answer.status_code == 204

    @property
    def exported(self) -> dict[str, str]:
        """What `serve` says to export for Prefect's own commands."""
        password = self.user.home / ".local" / "state" / "siamese-med" / "password"
        address = f"http://127.0.0.1:{self.port}/api"
        return {"PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": password.read_text().strip()}

    def trigger(self, *more: str) -> tuple[int, dict[str, str]]:
        done = self.user.call("trigger", "nightly", "--study", "by_hand", "--json", *more, cwd=self.folder)
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def station(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workstation]:
    made = Workstation(tiny, tmp_path_factory.mktemp("station"))
    yield made
    made.user.kill_all()


@pytest.fixture(scope="module")
def up(station: Workstation) -> Iterator[Workstation]:
    with station.user.serving(*station.studies, port=station.port, cwd=station.folder):
        yield station


@pytest.mark.long
def test_a_triggered_night_ends_completed_and_its_summary_counts(up: Workstation, tiny: Tiny) -> None:
    code, said = up.trigger("--wait")
    assert (code, said["state"]) == (0, "Completed"), (up.folder / "serve.log").read_text()
    ((summary,),) = up.user.query(
        f"select data from artifact where key = 'summary' and flow_run_id = '{said['run']}' "
        f"or key = 'summary' and replace(flow_run_id, '-', '') = '{said['run'].replace('-', '')}'"
    )
    files = len(list(tiny.export.iterdir())) - 1  # the manifest names the others
    assert f"{files} files seen = {files} ingested + 0 skipped + 0 duplicate + 0 quarantined." in summary
    assert "8 pairs of one patient" in summary


@pytest.mark.long
@pytest.mark.parametrize(("call", "words"), [(["nightly"], "--study"), (["weekly"], "choose among")])
def test_a_trigger_that_leaves_something_open_says_what(up: Workstation, call: list[str], words: str) -> None:
    done = up.user.call_here("trigger", *call, cwd=up.folder)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.long
def test_the_schedule_starts_a_night_by_itself(up: Workstation) -> None:
    deadline = time.monotonic() + 600
    while ("nights", "Completed", 1) not in up.runs():
        assert time.monotonic() < deadline, up.runs()
        time.sleep(1)


@pytest.mark.long
def test_status_shows_what_was_and_what_comes(up: Workstation) -> None:
    said = up.user.ask("status", "--data", "by_hand/data", "--reports", "by_hand/reports", cwd=up.folder)
    assert said["server"] == f"http://127.0.0.1:{up.port}/api"
    assert {run["state"] for run in said["runs"]} >= {"Completed"}
    assert "nightly/nights" in {run["run"] for run in said["scheduled"]}
    assert "nightly/by_hand" not in {run["run"] for run in said["scheduled"]}
    up.pause("nights")  # soon, since each night takes time from the tests that follow
    again = up.user.ask("status", "--data", "by_hand/data", "--reports", "by_hand/reports", cwd=up.folder)
    assert again["scheduled"] == []


@pytest.mark.long
def test_a_second_night_at_once_is_refused(up: Workstation) -> None:
    with (up.folder / "by_hand" / "data" / ".scheduled.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = up.trigger("--wait")
    assert (code, said["state"]) == (4, "Refused")


@pytest.mark.long
def test_what_is_wrong_with_a_study_is_said_before_a_run_is_made(up: Workstation) -> None:
    config = up.folder / "by_hand" / "config.toml"
    sound, before = config.read_text(), len([run for run in up.runs() if not run[2]])
    config.write_text("[train]\nepoch = 3\n")
    code, said = up.trigger()
    config.write_text(sound)
    assert code == 2
    assert "unknown key 'train.epoch'" in said["error"]
    assert len([run for run in up.runs() if not run[2]]) == before


@pytest.mark.long
def test_the_documented_hook_hears_of_a_finding_once(up: Workstation, tmp_path: Path) -> None:
    with listening() as (address, heard):
        (example,) = [block for block in PYTHON.findall(PAGE.read_text()) if "Webhook" in block]
        here = example.replace("https://chat.example/hook", address)
        assert here != example
        for script in (here, FINDING, FINDING):
            call = [sys.executable, "-c", script, str(tmp_path)]
            environment = {**up.user.environment, **up.exported}
            done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 600
        while not heard and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2)
    assert len(heard) == 1
    assert "siamese-med.change" in heard[0]
    assert "sub-somebody_ses-02" in heard[0]


def test_what_is_said_where_no_server_answers(tmp_path: Path) -> None:
    user = User(tmp_path / "home")
    assert user.ask_here("status", cwd=tmp_path)["server"] is None
    nobody = user.call_here("trigger", "nightly", cwd=tmp_path)
    assert (nobody.returncode, "siamese-med serve" in nobody.stderr) == (2, True)
    silent = User(tmp_path / "home", extra={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert silent.ask_here("status", cwd=tmp_path)["server"] is None
    said = silent.call_here("trigger", "nightly", cwd=tmp_path)
    assert (said.returncode, "does not answer" in said.stderr) == (2, True)


@pytest.mark.long
def test_a_second_serve_is_refused(up: Workstation) -> None:
    done = up.user.call_here("serve", up.studies[0], "--port", "0", cwd=up.folder)
    assert done.returncode == 2
    done = up.user.call("serve", up.studies[0], cwd=up.folder)
    assert done.returncode == 2
    assert "running already" in done.stderr


def begun(up: Workstation) -> str:
    """The id of a whole run of a study without a model, once its two ranks train."""
    shutil.rmtree(up.folder / "by_hand" / "data" / "models", ignore_errors=True)  # with it there is nothing to train
    said = up.user.ask("trigger", "track-changes", "--study", "by_hand", cwd=up.folder)
    deadline = time.monotonic() + 600
    while (
        sum("training.distributed" in command for command in up.user.processes().values()) < 3
    ):  # torchrun and two ranks
        assert time.monotonic() < deadline, (up.folder / "serve.log").read_text()
        time.sleep(0.1)
    return str(said["run"])


@pytest.mark.long
def test_a_cancelled_run_ends_with_all_its_ranks(up: Workstation) -> None:
    run = begun(up)
    environment = {**up.user.environment, **up.exported}
    subprocess.run([sys.executable, "-m", "prefect", "flow-run", "cancel", run], env=environment, check=True)
    deadline = time.monotonic() + 600
    while any(word in " ".join(up.user.processes().values()) for word in ("training.distributed", "prefect.engine")):
        assert time.monotonic() < deadline, up.user.processes()
        time.sleep(0.2)
    while ("by_hand", "Cancelled", 0) not in up.runs():
        assert time.monotonic() < deadline + 30, up.runs()
        time.sleep(0.2)


@pytest.mark.long
def test_a_killed_workstation_leaves_nothing_at_work_and_comes_up_again(up: Workstation) -> None:
    begun(up)
    starting = up.user.ask("trigger", "retrain", "--study", "by_hand", cwd=up.folder)["run"]
    deadline = time.monotonic() + 600
    while str(starting).replace("-", "") not in up.pending():
        assert time.monotonic() < deadline, up.runs()
        time.sleep(0.02)
    for pid, command in up.user.processes().items():
        if " serve " in command:
            os.kill(pid, signal.SIGKILL)
    assert up.user.left() == {}
    assert up.user.unfinished()
    with up.user.serving(up.studies[0], port=up.port, cwd=up.folder) as again:
        assert up.user.unfinished() == []
        said = up.user.ask("status", "--data", "by_hand/data", "--reports", "r", cwd=up.folder)
        assert said["scheduled"] == []  # the other study is no longer served
        again.terminate()
        again.wait(300)
    assert up.user.processes() == {}
    assert again.returncode == 143
