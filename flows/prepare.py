"""Scans to aligned volumes, recorded."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes


@flow(name="prepare", flow_run_name=run_name, persist_result=False)
def prepare(study: str) -> Outcomes:
    """Align what is new; see flows.studies for the parameter."""
    return record(("prepare",), order_of(study))
