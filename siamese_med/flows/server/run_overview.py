"""Ask Prefect about the runs of this package: recent, failed and scheduled ones; and request a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NotRequired, TypedDict

from siamese_med.errors import MissingExtraError, ServerError, SiameseMedError, UsageError
from siamese_med.flows import study_files
from siamese_med.flows.server import prefect_server
from siamese_med.flows.server.deployments import DEPLOYMENT_TAG, FLOW_DESCRIPTIONS
from siamese_med.pipeline.stage_results import STAGE_NAMES
from siamese_med.runtime.extras import require_extra

MAX_RECENT_RUNS = 8
"""Number of recent runs that are listed."""
RUN_POLL_INTERVAL_S = 2.0
"""Seconds between two looks at a run that is waited for."""
FAILED_STATES = ("Failed", "Crashed")
"""Prefect states of a run without useful results."""
ONGOING_STATES = ("Scheduled", "Late", "Pending", "Running", None)
"""Prefect states of a run that has not ended; None is a run without a state."""
NO_SERVER_MESSAGE = "no server of `siamese-med serve` is running: start `siamese-med serve STUDY.toml` first"


class RunLine(TypedDict):
    """A run that has started; `says` is the message of its state, such as what is missing."""

    run: str
    state: str | None
    seconds: int
    says: str | None
    id: str


class ScheduledLine(TypedDict):
    """The next run of a deployment; `at` is a time in ISO format."""

    run: str
    at: str


class RunsOverview(TypedDict):
    """Facts about runs that `status` shows; `next_step` only if the last run has no useful results."""

    server: str | None
    runs: list[RunLine]
    scheduled: list[ScheduledLine]
    next_step: NotRequired[str]


class TriggeredRun(TypedDict):
    """A run that was requested; `page` is the address of its page."""

    run: str
    flow: str
    study: str
    page: str
    state: str | None


def summarise_runs() -> RunsOverview:
    """List recent runs, newest first, and scheduled runs, soonest first.

    Returns
    -------
    RunsOverview
        `server` is None and both lists are empty if no server answers or Prefect is not installed. `next_step` says
        what to do if the last run failed.
    """
    try:
        with _client() as (address, client):
            runs = _runs(client)
            found: RunsOverview = {"server": address, "runs": runs, "scheduled": _scheduled(client)}
            if step := _trouble(runs):
                found["next_step"] = step
            return found
    except (ServerError, MissingExtraError):
        return {"server": None, "runs": [], "scheduled": []}


def _trouble(runs: list[RunLine]) -> str | None:
    """The next step if the last run has no useful results."""
    if not runs or runs[0]["state"] not in FAILED_STATES:
        return None
    again = "run it again, finished work is kept" if runs[0]["state"] == "Crashed" else "run it by hand to read why"
    return f"the last run, {runs[0]['run']}, ended as {runs[0]['state']}: {again}"


def request_run(flow: str, study: str | None, wait: bool) -> TriggeredRun:
    """Request a run of a served study now.

    Parameters
    ----------
    flow
        Key of `deployments.FLOW_DESCRIPTIONS`.
    study
        Name of the study; None if only one is served.
    wait
        Wait until the run has ended.

    Raises
    ------
    ServerError
        If no server answers.
    UsageError
        If flow or study is not served.
    SiameseMedError
        If the study file is not valid; no run is made then.
    """
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
    """Describe what a run that was waited for left undone; empty for a complete run and for one that is still running.

    Raises
    ------
    SiameseMedError
        If the run failed or crashed.
    """
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
        ),  # the server may record other projects too
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
    """Address of the known server and a client for it; raises ServerError if there is none or it does not answer."""
    require_extra("prefect")
    from prefect.client.orchestration import SyncPrefectClient

    if (access := prefect_server.find_known_server()) is None:
        raise ServerError(NO_SERVER_MESSAGE)
    with prefect_server.translate_server_errors(), SyncPrefectClient(access.address, auth_string=access.auth) as client:
        yield access.address, client
