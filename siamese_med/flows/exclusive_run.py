"""Runs that start by themselves: one at a time for each study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from prefect import State
from prefect.states import Cancelled

from siamese_med.flows.recorded_run import run_recorded_stages
from siamese_med.pipeline.stage_results import RunRequest, StageResults
from siamese_med.runtime import files

SCHEDULED_RUN_LOCK = ".scheduled.lock"
"""In the data folder: held by the nightly or weekly run that is at work."""


def run_recorded_stages_alone(verbs: Sequence[str], order: RunRequest, wait: bool) -> StageResults:
    """As `run_recorded_stages`, while no other scheduled run of this study is at work: wait for that, or be Refused."""
    with files.acquire_lock(order.study.data / SCHEDULED_RUN_LOCK, wait) as alone:
        if alone:
            return run_recorded_stages(verbs, order)
    refused: State[StageResults] = Cancelled(name="Refused", message="the run before is still at work on this study")
    return cast(StageResults, refused)
