"""Pairs to a model, recorded."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes


@flow(name="train", flow_run_name=run_name, persist_result=False)
def train(study: str) -> Outcomes:
    """Train, calibrate and measure one model; see flows.studies for the parameter."""
    return record(("train",), order_of(study))
