"""Scores to pages, recorded."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes


@flow(name="report", flow_run_name=run_name, persist_result=False)
def report(study: str) -> Outcomes:
    """Write the pages for the study's model, else the current; see flows.studies for the parameter."""
    return record(("report",), order_of(study))
