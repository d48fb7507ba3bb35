"""The flows and their deployments: every entry point is there, and a run's parameters name no path of the input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import flows
from flows.service import serving, unit
from siamese_med.errors import ConfigError, MissingFileError
from siamese_med.outcomes import VERBS
from tests.commands import ROOT

NAMES = (*VERBS, "track_changes", "nightly", "retrain")


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_takes_the_name_of_a_study_and_nothing_else(name: str) -> None:
    flow = getattr(import_module(f"flows.{name}"), name)
    assert list(flow.parameters.properties) == ["study"]
    assert flow.name == name.replace("_", "-")
    assert flow.description
    assert flow.persist_result is False


def study_file(folder: Path, name: str = "brains", config: str = "") -> Path:
    (folder / "config.toml").write_text(config)
    file = folder / f"{name}.toml"
    file.write_text('input = "incoming"\ndata = "data"\nreports = "reports"\nconfig = "config.toml"\n')
    return file


def test_a_study_has_three_deployments_two_of_which_start_by_themselves(tmp_path: Path) -> None:
    config = '[run]\nnightly = "30 1 * * *"\ntimezone = "Europe/Berlin"\n'
    made = serving.deployments([file := study_file(tmp_path, config=config)])
    assert [one.flow_name for one in made] == ["nightly", "retrain", "track-changes"]
    assert {one.name for one in made} == {"brains"}
    assert all(one.parameters == {"study": str(file)} for one in made)
    schedules = [[(each.schedule.cron, each.schedule.timezone) for each in one.schedules or []] for one in made]
    assert schedules == [[("30 1 * * *", "Europe/Berlin")], [("0 4 * * 0", "Europe/Berlin")], []]
    assert all(import_module(one.entrypoint.rpartition(".")[0]) for one in made)


def test_an_empty_schedule_is_none(tmp_path: Path) -> None:
    made = serving.deployments([study_file(tmp_path, config='[run]\nnightly = ""\nretrain = ""\n')])
    assert [one.schedules for one in made] == [[], [], []]


@pytest.mark.parametrize("line", ['nightly = "2 o\'clock"', 'nightly = "99 * * * *"', 'timezone = "Atlantis"'])
def test_a_wrong_schedule_is_explained(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.nightly or run\.timezone"):
        serving.check([study_file(tmp_path, config=f"[run]\n{line}\n")])


def test_a_missing_study_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        serving.check([tmp_path / "nowhere.toml"])
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match="one name"):
        serving.check([study_file(tmp_path), study_file(tmp_path / "b")])


def test_the_unit_starts_what_was_asked_for_whatever_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAMESE_MED_SECRET_FILE", "/srv/100% mine")
    monkeypatch.setenv("SIAMESE_MED_DICOMWEB_PASSWORD", "hush")
    text = unit.unit([tmp_path / 'a "b" $c.toml'], 4711)
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert line.endswith(f'serve "{tmp_path}/a \\"b\\" $$c.toml" --port 4711')
    assert 'Environment="SIAMESE_MED_SECRET_FILE=/srv/100%% mine"' in text
    assert "hush" not in text
    (tmp_path / "siamese-med.service").write_text(text)
    if verify := shutil.which("systemd-analyze"):
        call = [verify, "verify", "--user", str(tmp_path / "siamese-med.service")]
        assert "siamese-med.service:" not in subprocess.run(call, capture_output=True, text=True, check=False).stderr


def test_importing_flows_settles_prefect_without_importing_it() -> None:
    ask = "import flows, os, sys; print('prefect' in sys.modules, *[os.environ[name] for name in flows.SETTINGS])"
    bare = {name: value for name, value in os.environ.items() if name not in flows.SETTINGS}
    said = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", *flows.SETTINGS.values()]


def test_what_the_user_has_set_is_kept() -> None:
    ask = "import flows, os; print(os.environ['PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS'])"
    own = os.environ | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "77"}
    said = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "77"
