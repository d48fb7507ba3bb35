"""What is new since yesterday, judged by the model that speaks."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from flows.failures import guarded
from flows.recording import order_of, run_name
from flows.scheduled import record_alone
from siamese_med import stages
from siamese_med.outcomes import Outcomes, verbs_of


@flow(name="nightly", flow_run_name=run_name, persist_result=False)
def nightly(study: str) -> Outcomes:
    """Ingest, prepare, pair, score and report with the study's model, else the current; only what is new costs time."""
    order = order_of(study)
    order = replace(order, model=order.model or guarded(stages.current_model, order.study))
    return record_alone(verbs_of(order.model), order, wait=False)
