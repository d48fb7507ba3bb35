"""Pairs to scores, recorded."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes


@flow(name="score", flow_run_name=run_name, persist_result=False)
def score(study: str) -> Outcomes:
    """Score every pair with the study's model, else the current; see flows.studies for the parameter."""
    return record(("score",), order_of(study))
