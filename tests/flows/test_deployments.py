"""The flows and their deployments: every entry point is there, and a run's parameters name no path of the input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from prefect.flows import load_flow_from_entrypoint

from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.flows import PREFECT_ENVIRONMENT, flows
from siamese_med.flows.server import deployments, systemd_unit
from siamese_med.pipeline.stage_results import STAGE_NAMES
from tests.commands import ROOT

SCHEDULED = ("track_changes", "nightly", "retrain")
NAMES = (*STAGE_NAMES, *SCHEDULED)
ENTRY_POINTS = (*(f"{name}:{name}" for name in SCHEDULED), *(f"stages:{name}" for name in STAGE_NAMES))
"""File of the folder flows, and the flow in it."""


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_takes_the_name_of_a_study_and_nothing_else(name: str) -> None:
    flow = getattr(flows, name)
    assert list(flow.parameters.properties) == ["study"]
    assert flow.name == name.replace("_", "-")
    assert flow.description
    assert flow.persist_result is False


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_prefect_loads_a_flow_from_its_file_in_the_checkout(entry: str) -> None:
    file, name = entry.split(":")
    loaded = load_flow_from_entrypoint(f"{ROOT / 'flows' / file}.py:{name}")
    assert loaded.name == name.replace("_", "-")
    assert sorted(path.stem for path in (ROOT / "flows").glob("*.py")) == [
        "nightly",
        "retrain",
        "stages",
        "track_changes",
    ]


def study_file(folder: Path, name: str = "brains", config: str = "") -> Path:
    (folder / "config.toml").write_text(config)
    file = folder / f"{name}.toml"
    file.write_text('input = "incoming"\ndata = "data"\nreports = "reports"\nconfig = "config.toml"\n')
    return file


def test_a_study_has_three_deployments_two_of_which_start_by_themselves(tmp_path: Path) -> None:
    config = '[run]\nnightly = "30 1 * * *"\ntimezone = "Europe/Berlin"\n'
    made = deployments.make_deployments([file := study_file(tmp_path, config=config)])
    assert [one.flow_name for one in made] == ["nightly", "retrain", "track-changes"]
    assert {one.name for one in made} == {"brains"}
    assert all(one.parameters == {"study": str(file)} for one in made)
    schedules = [[(each.schedule.cron, each.schedule.timezone) for each in one.schedules or []] for one in made]
    assert schedules == [[("30 1 * * *", "Europe/Berlin")], [("0 4 * * 0", "Europe/Berlin")], []]
    assert all(import_module(one.entrypoint.rpartition(".")[0]) for one in made)


def test_an_empty_schedule_is_none(tmp_path: Path) -> None:
    made = deployments.make_deployments([study_file(tmp_path, config='[run]\nnightly = ""\nretrain = ""\n')])
    assert [one.schedules for one in made] == [[], [], []]


@pytest.mark.parametrize("line", ['nightly = "2 o\'clock"', 'nightly = "99 * * * *"', 'timezone = "Atlantis"'])
def test_a_wrong_schedule_is_explained(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.nightly or run\.timezone"):
        deployments.check_study_files([study_file(tmp_path, config=f"[run]\n{line}\n")])


def test_a_missing_study_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        deployments.check_study_files([tmp_path / "nowhere.toml"])
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match="same name"):
        deployments.check_study_files([study_file(tmp_path), study_file(tmp_path / "b")])


def test_the_unit_starts_what_was_asked_for_whatever_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAMESE_MED_SECRET_FILE", "/srv/100% mine")
    monkeypatch.setenv("SIAMESE_MED_DICOMWEB_PASSWORD", "hush")
    text = systemd_unit.render_systemd_unit([tmp_path / 'a "b" $c.toml'], 4711)
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert line.endswith(f'serve "{tmp_path}/a \\"b\\" $$c.toml" --port 4711')
    assert 'Environment="SIAMESE_MED_SECRET_FILE=/srv/100%% mine"' in text
    assert "hush" not in text
    (tmp_path / "siamese-med.service").write_text(text)
    if verify := shutil.which("systemd-analyze"):
        call = [verify, "verify", "--user", str(tmp_path / "siamese-med.service")]
        assert "siamese-med.service:" not in subprocess.run(call, capture_output=True, text=True, check=False).stderr


def test_importing_flows_settles_prefect_without_importing_it() -> None:
    ask = (
        "import os, sys; from siamese_med.flows import PREFECT_ENVIRONMENT; "
        "print('prefect' in sys.modules, *[os.environ[name] for name in PREFECT_ENVIRONMENT])"
    )
    bare = {name: value for name, value in os.environ.items() if name not in PREFECT_ENVIRONMENT}
    said = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", *PREFECT_ENVIRONMENT.values()]


def test_what_the_user_has_set_is_kept() -> None:
    ask = "import siamese_med.flows, os; print(os.environ['PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS'])"
    own = os.environ | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "77"}
    said = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "77"
