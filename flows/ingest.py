"""Files to scans, recorded."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes


@flow(name="ingest", flow_run_name=run_name, persist_result=False)
def ingest(study: str) -> Outcomes:
    """Account for every file of the study's input; see flows.studies for the parameter."""
    return record(("ingest",), order_of(study))
