"""Real runs on Prefect's own temporary server: what they record, what they leave behind, and what they must not."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from siamese_med.flows.server import prefect_server
from tests.commands import ROOT, siamese_med, write_nifti

PRIVATE = (b"MUELLER", b"19500101")


class Runs:
    """Two recorded ingest runs, one done in part and one with nothing usable; and what Prefect kept of them."""

    def __init__(self, folder: Path, home: Path) -> None:
        export = folder / "MUELLER_HANS_19500101"
        write_nifti(export / "MUELLER.nii.gz")
        (export / "broken.nii.gz").write_bytes(b"not an image at all")
        useless = folder / "MUELLER_letters"
        useless.mkdir()
        (useless / "letter.txt").write_text("no scan here")
        self.folder, self.home = folder, home
        with prefect_server.use_recording_server():  # one server for both, as a run has one for itself
            self.in_part = siamese_med("ingest", export, "--json", cwd=folder)
            self.in_vain = siamese_med("ingest", useless, "--json", "--data", "other", cwd=folder)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.home / "prefect" / "prefect.db") as database:
            return database.execute(sql).fetchall()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    own = tmp_path_factory.mktemp("home")  # what other tests had recorded is not in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(own))
        patch.setenv("PREFECT_HOME", str(own / "prefect"))
        return Runs(tmp_path_factory.mktemp("recorded"), own)


def test_a_run_done_in_part_exits_with_4_and_its_state_says_so(runs: Runs) -> None:
    assert runs.in_part.returncode == 4, runs.in_part.stderr
    assert json.loads(runs.in_part.stdout)["quarantined"] == 1
    assert runs.query("select s.type, s.name from flow_run r join flow_run_state s on r.state_id = s.id")[0] == (
        "COMPLETED",
        "DoneInPart",
    )


def test_a_run_in_vain_exits_with_3_and_its_state_is_failed(runs: Runs) -> None:
    assert runs.in_vain.returncode == 3, runs.in_vain.stderr
    assert json.loads(runs.in_vain.stdout)["files_seen"] == 1
    states = runs.query("select s.type, s.message from flow_run r join flow_run_state s on r.state_id = s.id")
    assert any(kind == "FAILED" and "NothingUsableError (exit code 3)" in message for kind, message in states)


def test_standard_error_holds_no_traceback_and_no_log_of_prefect(runs: Runs) -> None:
    for run in (runs.in_part, runs.in_vain):
        assert "Traceback" not in run.stderr
        assert "Flow run" not in run.stderr


def test_a_bad_input_is_not_tried_again(runs: Runs) -> None:
    assert {count for (count,) in runs.query("select run_count from task_run")} == {1}


def test_the_account_is_an_artifact(runs: Runs) -> None:
    ((table,),) = runs.query("select data from artifact where key = 'ingest-account'")
    rows = {row["what"]: row["value"] for row in json.loads(json.loads(table) if table.startswith('"') else table)}
    assert (rows["files_seen"], rows["ingested"], rows["quarantined"]) == (2, 1, 1)


def test_run_names_can_be_read(runs: Runs) -> None:
    names = [name for (name,) in runs.query("select name from flow_run")]
    assert all(name.startswith("ingest 20") for name in names)
    assert {name for (name,) in runs.query("select name from task_run")} == {"ingest"}


def test_nothing_private_reaches_prefect_or_the_study(runs: Runs, home: Path) -> None:
    registered = runs.home / ".local" / "state" / "siamese-med"
    places = (runs.home, home / "prefect")  # Prefect's home in this process is that of all tests
    kept = [path for place in places for path in place.rglob("*") if path.is_file()]
    kept = [path for path in kept if registered not in path.parents]
    kept += [path for name in ("data", "other") for path in (runs.folder / name).rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in kept)
    for path in kept:
        content = path.read_bytes() + str(path).encode()
        assert not [word for word in PRIVATE if word in content], path
    assert not [word for word in PRIVATE if word.decode() in runs.in_part.stdout + runs.in_part.stderr]


def test_no_server_is_left_running(runs: Runs) -> None:
    home = str(runs.home).encode()
    servers = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"siamese_med.flows.server.access_control" in (process / "cmdline").read_bytes()
                and home in (process / "environ").read_bytes()
            ):
                servers.append(process.name)
        except OSError:
            continue  # gone, or not ours
    assert servers == []


FIRST_IMPORT = """
import os, sys
from importlib.abc import MetaPathFinder

class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "prefect":
            print(os.environ.get("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Finder())
from siamese_med.cli import run_request
run_request._record("ingest", None, None)
"""


def test_prefect_is_silent_before_it_is_imported_or_an_error_were_a_traceback() -> None:
    said = subprocess.run([sys.executable, "-c", FIRST_IMPORT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.stdout == "CRITICAL\n", said.stderr
