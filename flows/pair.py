"""Scans to pairs, recorded."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes


@flow(name="pair", flow_run_name=run_name, persist_result=False)
def pair(study: str) -> Outcomes:
    """Split the patients and pair their scans; see flows.studies for the parameter."""
    return record(("pair",), order_of(study))
