"""What Prefect knows of our runs: the last ones, what failed, what comes; and runs that are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NotRequired, TypedDict

from siamese_med.errors import ServerError, SiameseMedError, UsageError
from siamese_med.flows import study_files
from siamese_med.flows.server import prefect_server
from siamese_med.flows.server.deployments import DEPLOYMENT_TAG, FLOW_DESCRIPTIONS
from siamese_med.pipeline.stage_results import STAGE_NAMES

MAX_RECENT_RUNS = 8
RUN_POLL_INTERVAL_S = 2.0
FAILED_STATES = ("Failed", "Crashed")
ONGOING_STATES = ("Scheduled", "Late", "Pending", "Running", None)
NO_SERVER_MESSAGE = "nobody serves: start `siamese-med serve STUDY.toml` first, it registers the runs"


class RunLine(TypedDict):
    """A run that has started; `says`: what its state tells, such as what is missing."""

    run: str
    state: str | None
    seconds: int
    says: str | None
    id: str


class ScheduledLine(TypedDict):
    """The next run of a deployment, `at` a time in ISO format."""

    run: str
    at: str


class RunsOverview(TypedDict):
    """What `status` says of runs; `next_step` only where the last one did nothing useful."""

    server: str | None
    runs: list[RunLine]
    scheduled: list[ScheduledLine]
    next_step: NotRequired[str]


class TriggeredRun(TypedDict):
    """A run that was asked for; `page` shows it."""

    run: str
    flow: str
    study: str
    page: str
    state: str | None


def summarise_runs() -> RunsOverview:
    """Last and coming runs, newest and soonest first, where a server answers; only that none does otherwise."""
    try:
        with _client() as (address, client):
            runs = _runs(client)
            found: RunsOverview = {"server": address, "runs": runs, "scheduled": _scheduled(client)}
            if step := _trouble(runs):
                found["next_step"] = step
            return found
    except ServerError:
        return {"server": None, "runs": [], "scheduled": []}


def _trouble(runs: list[RunLine]) -> str | None:
    """The next step where the last run did nothing useful."""
    if not runs or runs[0]["state"] not in FAILED_STATES:
        return None
    again = "run it again, finished work is kept" if runs[0]["state"] == "Crashed" else "run it by hand to read why"
    return f"the last run, {runs[0]['run']}, ended as {runs[0]['state']}: {again}"


def request_run(flow: str, study: str | None, wait: bool) -> TriggeredRun:
    """Ask whoever serves for a run now; raises ServerError, and what is wrong with the study, before a run is made."""
    with _client() as (address, client):
        chosen = _deployment(client, flow, study)
        study_files.load_study_file(chosen.parameters["study"])
        run = client.create_flow_run_from_deployment(chosen.id)
        page = _page(address, run)
        while wait and not (run.state and run.state.is_final()):
            time.sleep(RUN_POLL_INTERVAL_S)
            run = client.read_flow_run(run.id)
    state = run.state.name if run.state else None
    return {"run": str(run.id), "flow": flow, "study": chosen.name, "page": page, "state": state}


def describe_incomplete_run(facts: TriggeredRun) -> tuple[str, ...]:
    """What a run that was waited for did not do; nothing of one that goes on. Raises where it did nothing useful."""
    state = facts["state"]
    if state in FAILED_STATES:
        raise SiameseMedError(f"the run ended as {state}: {facts['page']} says where")
    return () if state in ("Completed", *ONGOING_STATES) else (f"the run ended as {state}: {facts['page']}",)


def _deployment(client: Any, flow: str, study: str | None) -> Any:
    from prefect.client.schemas.filters import DeploymentFilter, FlowFilter

    if flow not in FLOW_DESCRIPTIONS:
        raise UsageError(f"there is no run of this name: choose among {', '.join(FLOW_DESCRIPTIONS)}")
    found = client.read_deployments(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}),
        deployment_filter=DeploymentFilter.model_validate({"tags": {"all_": [DEPLOYMENT_TAG]}}),
    )
    served = [one for one in found if not one.paused and study in (None, one.name)]
    if len(served) == 1:
        return served[0]
    names = ", ".join(sorted(one.name for one in found if not one.paused))
    raise UsageError(f"name one study with --study: served are {names}" if names else NO_SERVER_MESSAGE)


def _runs(client: Any) -> list[RunLine]:
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    found = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate(
            {"name": {"any_": [*STAGE_NAMES, *FLOW_DESCRIPTIONS]}}
        ),  # the server may have others'
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"not_any_": ["SCHEDULED"]}}}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=MAX_RECENT_RUNS,
    )
    return [
        {
            "run": run.name,
            "state": run.state.name if run.state else None,
            "seconds": round(run.total_run_time.total_seconds()),
            "says": run.state.message if run.state else None,
            "id": str(run.id),
        }
        for run in found
    ]


def _scheduled(client: Any) -> list[ScheduledLine]:
    from prefect.client.schemas.filters import DeploymentFilter

    ours = client.read_deployments(
        deployment_filter=DeploymentFilter.model_validate({"tags": {"all_": [DEPLOYMENT_TAG]}})
    )
    served = [one for one in ours if not one.paused]
    names = {one.id: f"{one.entrypoint.rpartition('.')[2].replace('_', '-')}/{one.name}" for one in served}
    coming = client.get_scheduled_flow_runs_for_deployments(list(names), limit=100) if names else []
    first: dict[str, str] = {}
    for run in sorted(coming, key=lambda one: one.next_scheduled_start_time):
        first.setdefault(names[run.deployment_id], run.next_scheduled_start_time.isoformat(timespec="minutes"))
    return [{"run": name, "at": when} for name, when in first.items()]


def _page(address: str, run: Any) -> str:
    return f"{address.removesuffix('/api')}/runs/flow-run/{run.id}"


@contextmanager
def _client() -> Iterator[tuple[str, Any]]:
    """The address of the server that is known, and a client of it; raises ServerError where none is, or answers."""
    from prefect.client.orchestration import SyncPrefectClient

    if (access := prefect_server.find_known_server()) is None:
        raise ServerError(NO_SERVER_MESSAGE)
    with prefect_server.translate_server_errors(), SyncPrefectClient(access.address, auth_string=access.auth) as client:
        yield access.address, client
