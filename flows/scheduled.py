"""Runs that start by themselves: one at a time for each study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from prefect import State
from prefect.states import Cancelled

from flows.recording import record
from siamese_med import files
from siamese_med.outcomes import Order, Outcomes

LOCK = ".scheduled.lock"
"""In the data folder: held by the nightly or weekly run that is at work."""


def record_alone(verbs: Sequence[str], order: Order, wait: bool) -> Outcomes:
    """As `record`, while no other scheduled run of this study is at work: wait for that, or be Refused."""
    with files.claimed(order.study.data / LOCK, wait) as alone:
        if alone:
            return record(verbs, order)
    refused: State[Outcomes] = Cancelled(name="Refused", message="the run before is still at work on this study")
    return cast(Outcomes, refused)
