"""A new model from everything ingested so far, and every report written again with it."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from flows.recording import order_of, record_alone, run_name
from siamese_med.outcomes import Outcomes


@flow(name="retrain", flow_run_name=run_name, persist_result=False)
def retrain(study: str) -> Outcomes:
    """Prepare, pair, train, score and report; nothing is ingested, and the study's own model is not used."""
    order = replace(order_of(study), model=None)
    return record_alone(("prepare", "pair", "train", "score", "report"), order, wait=True)
