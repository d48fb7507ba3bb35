"""Every Prefect flow: one for each stage, one for the whole line, and two that run by a schedule.

A flow's only parameter is the name of a study file (see `study_files`), so Prefect's database holds no path of the
input. Each flow returns the results of its stages and ends as Completed, or as DoneInPart with what is missing.
"""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from siamese_med.flows.exclusive_run import run_recorded_stages_alone
from siamese_med.flows.failures import call_hiding_error_text
from siamese_med.flows.recorded_run import format_run_name, read_run_request, run_recorded_stages
from siamese_med.pipeline import stages
from siamese_med.pipeline.stage_results import RETRAIN_STAGES, StageResults, select_stages


@flow(name="ingest", flow_run_name=format_run_name, persist_result=False)
def ingest(study: str) -> StageResults:
    """Turn the files of the study's input into scans, and account for every file."""
    return run_recorded_stages(("ingest",), read_run_request(study))


@flow(name="prepare", flow_run_name=format_run_name, persist_result=False)
def prepare(study: str) -> StageResults:
    """Align the scans that are new."""
    return run_recorded_stages(("prepare",), read_run_request(study))


@flow(name="pair", flow_run_name=format_run_name, persist_result=False)
def pair(study: str) -> StageResults:
    """Split the patients and pair their scans."""
    return run_recorded_stages(("pair",), read_run_request(study))


@flow(name="train", flow_run_name=format_run_name, persist_result=False)
def train(study: str) -> StageResults:
    """Train, calibrate and measure one model."""
    return run_recorded_stages(("train",), read_run_request(study))


@flow(name="score", flow_run_name=format_run_name, persist_result=False)
def score(study: str) -> StageResults:
    """Score every pair with the study's model, else with the current one."""
    return run_recorded_stages(("score",), read_run_request(study))


@flow(name="report", flow_run_name=format_run_name, persist_result=False)
def report(study: str) -> StageResults:
    """Write the pages for the study's model, else for the current one."""
    return run_recorded_stages(("report",), read_run_request(study))


@flow(name="track-changes", flow_run_name=format_run_name, persist_result=False)
def track_changes(study: str) -> StageResults:
    """Run all six stages, from files to reports; training is left out where the study names a model."""
    order = read_run_request(study)
    return run_recorded_stages(select_stages(order.model), order)


@flow(name="nightly", flow_run_name=format_run_name, persist_result=False)
def nightly(study: str) -> StageResults:
    """Ingest, prepare, pair, score and report with the study's model, else with the current one."""
    order = read_run_request(study)
    order = replace(order, model=order.model or call_hiding_error_text(stages.current_model, order.study))
    return run_recorded_stages_alone(select_stages(order.model), order, wait=False)


@flow(name="retrain", flow_run_name=format_run_name, persist_result=False)
def retrain(study: str) -> StageResults:
    """Train a candidate from all scans so far, promote or refuse it, score and report.

    A model that the study file names is not used.
    """
    return run_recorded_stages_alone(
        RETRAIN_STAGES, replace(read_run_request(study), model=None, candidate=True), wait=True
    )
