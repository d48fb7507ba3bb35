"""A new model from everything ingested so far, which speaks from then on where it is not worse."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from flows.recording import order_of, run_name
from flows.scheduled import record_alone
from siamese_med.outcomes import RETRAIN, Outcomes


@flow(name="retrain", flow_run_name=run_name, persist_result=False)
def retrain(study: str) -> Outcomes:
    """Prepare, pair, train, promote or refuse, score and report; the model that a study names is not used."""
    return record_alone(RETRAIN, replace(order_of(study), model=None, candidate=True), wait=True)
