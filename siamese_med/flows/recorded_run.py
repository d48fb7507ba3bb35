"""Run stages as Prefect tasks, and turn their results into the state of the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed

from siamese_med.flows import artifacts, dask_work, events, progress_artifacts, study_files
from siamese_med.flows.failures import call_hiding_error_text, is_worth_retrying
from siamese_med.flows.server import running_runs
from siamese_med.pipeline import stage_results
from siamese_med.pipeline.stage_results import RunRequest, StageResult, StageResults


def format_run_name() -> str:
    """Name the current run by its flow and the local time at which it started."""
    return f"{flow_run.flow_name} {datetime.now():%Y-%m-%d %H:%M:%S}"


def read_run_request(study: str) -> RunRequest:
    """Read the request from the study file that a run was given.

    Parameters
    ----------
    study
        Name or path of the study file.

    Raises
    ------
    StageFailed
        If the file is missing or not valid; `original` says why.
    """
    return call_hiding_error_text(study_files.load_study_file, study)


@task(
    name="stage",
    task_run_name="{verb}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_worth_retrying,
    cache_policy=NO_CACHE,
)
def run_stage_task(verb: str, order: RunRequest) -> StageResult:
    """Run one stage. Nothing is cached here, because a stage itself skips what is already done."""
    return call_hiding_error_text(stage_results.run_stage, verb, order)


def run_recorded_stages(verbs: Sequence[str], order: RunRequest) -> StageResults:
    """Run stages as recorded tasks, then publish their artifacts and events.

    Parameters
    ----------
    verbs
        Stages in their order.
    order
        Request of the run.

    Returns
    -------
    StageResults
        Results of the stages. The run ends as Completed, or as DoneInPart with what is missing.
    """
    running_runs.hold_lock_of_served_run(flow_run.id)
    with dask_work.spread_over_dask(order.study.config.run.dask), progress_artifacts.show_progress_on_page():
        done = stage_results.run_stages_in_order(verbs, order, run_stage_task)
    artifacts.publish_artifacts(done, order)
    events.emit_finding_events(done, order)
    missing = [problem for outcome in done for problem in outcome.unfinished]
    state: State[StageResults] = Completed(
        name="DoneInPart" if missing else "Completed", message="; ".join(missing) or None, data=done
    )
    return cast(StageResults, state)  # a flow that returns a state gives the state's data to its caller
