"""All Prefect flows: one for each stage, one for all stages, and two that run on a schedule.

The only parameter of a flow is the name of a study file (see `study_files`), so Prefect's database holds no path of
the input. Each flow returns the results of its stages and ends as Completed, or as DoneInPart with what is missing.
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
    """Convert the files of the study's input to scans, and account for every file."""
    return run_recorded_stages(("ingest",), read_run_request(study))


@flow(name="prepare", flow_run_name=format_run_name, persist_result=False)
def prepare(study: str) -> StageResults:
    """Align all new scans to the study's template."""
    return run_recorded_stages(("prepare",), read_run_request(study))


@flow(name="pair", flow_run_name=format_run_name, persist_result=False)
def pair(study: str) -> StageResults:
    """Split the patients into training, validation and test, and pair their scans."""
    return run_recorded_stages(("pair",), read_run_request(study))


@flow(name="train", flow_run_name=format_run_name, persist_result=False)
def train(study: str) -> StageResults:
    """Train, calibrate and evaluate one model."""
    return run_recorded_stages(("train",), read_run_request(study))


@flow(name="score", flow_run_name=format_run_name, persist_result=False)
def score(study: str) -> StageResults:
    """Score every pair with the model that the study file names, else with the current one."""
    return run_recorded_stages(("score",), read_run_request(study))


@flow(name="report", flow_run_name=format_run_name, persist_result=False)
def report(study: str) -> StageResults:
    """Write the reports for the model that the study file names, else for the current one."""
    return run_recorded_stages(("report",), read_run_request(study))


@flow(name="track-changes", flow_run_name=format_run_name, persist_result=False)
def track_changes(study: str) -> StageResults:
    """Run all stages, from files to reports; a model that is trained is promoted or rejected.

    Training is skipped if the study file names a model, or there are too few patients.
    """
    order = read_run_request(study)
    return run_recorded_stages(select_stages(order.model), order)


@flow(name="nightly", flow_run_name=format_run_name, persist_result=False)
def nightly(study: str) -> StageResults:
    """Ingest, prepare, pair, score and report with the model that the study file names, else with the current one.

    The run is refused while another scheduled run of this study is running.
    """
    order = read_run_request(study)
    order = replace(order, model=order.model or call_hiding_error_text(stages.current_model, order.study))
    return run_recorded_stages_alone(select_stages(order.model), order, wait=False)


@flow(name="retrain", flow_run_name=format_run_name, persist_result=False)
def retrain(study: str) -> StageResults:
    """Train a candidate on all scans so far, promote or reject it, then score and report.

    With too few patients nothing is trained. A model that the study file names is ignored. The run waits until no other
    scheduled run of this study is running.
    """
    return run_recorded_stages_alone(
        RETRAIN_STAGES, replace(read_run_request(study), model=None, candidate=True), wait=True
    )
