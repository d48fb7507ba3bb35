"""The whole line in one recorded run, from files to reports."""

from __future__ import annotations

from prefect import flow

from flows.recording import order_of, record, run_name
from siamese_med.outcomes import Outcomes, verbs_of


@flow(name="track-changes", flow_run_name=run_name, persist_result=False)
def track_changes(study: str) -> Outcomes:
    """Run all six stages, or five where the study names a model: training is left out then."""
    order = order_of(study)
    return record(verbs_of(order.model), order)
