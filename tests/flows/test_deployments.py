"""The flows and their deployments: every entry point is there, and a run's parameters name no path of the input."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

import flows
from siamese_med.outcomes import VERBS
from tests.commands import ROOT

NAMES = (*VERBS, "track_changes", "nightly", "retrain")
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_takes_the_name_of_a_study_and_nothing_else(name: str) -> None:
    flow = getattr(import_module(f"flows.{name}"), name)
    assert list(flow.parameters.properties) == ["study"]
    assert flow.name == name.replace("_", "-")
    assert flow.description
    assert flow.persist_result is False


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_leads_to_a_flow(deployment: dict[str, object]) -> None:
    file, function = str(deployment["entrypoint"]).split(":")
    assert (ROOT / file).is_file()
    assert function in NAMES
    assert deployment["parameters"] == {"study": "study.toml"}
    assert deployment["schedules"]
    assert deployment["concurrency_limit"] == 1


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
