"""Scheduled runs: only one at a time for each study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from prefect import State
from prefect.states import Cancelled

from siamese_med.flows.recorded_run import run_recorded_stages
from siamese_med.pipeline.stage_results import RunRequest, StageResults
from siamese_med.runtime import files

SCHEDULED_RUN_LOCK = ".scheduled.lock"
"""Lock file in the data folder; held by the nightly or weekly run that is running."""


def run_recorded_stages_alone(verbs: Sequence[str], order: RunRequest, wait: bool) -> StageResults:
    """Run stages as `run_recorded_stages` does, but never beside another scheduled run of the same study.

    Parameters
    ----------
    verbs
        Stages in their order.
    order
        Request of the run.
    wait
        Wait for the other run to end. Otherwise this run ends at once as Cancelled, under the name Refused.
    """
    with files.acquire_lock(order.study.data / SCHEDULED_RUN_LOCK, wait) as alone:
        if alone:
            return run_recorded_stages(verbs, order)
    refused: State[StageResults] = Cancelled(name="Refused", message="another run of this study is still running")
    return cast(StageResults, refused)
