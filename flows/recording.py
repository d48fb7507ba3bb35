"""How a stage becomes a recorded task, and its outcomes the state of the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import artifacts, events, fan_out, studies, watching
from flows.failures import guarded, may_pass
from flows.service import liveness
from siamese_med import outcomes
from siamese_med.outcomes import Order, Outcome, Outcomes


def run_name() -> str:
    """Name a run by its flow and the time it started."""
    return f"{flow_run.flow_name} {datetime.now():%Y-%m-%d %H:%M:%S}"


def order_of(study: str) -> Order:
    """Read the study file that stands behind a run's only parameter."""
    return guarded(studies.load, study)


@task(
    task_run_name="{verb}", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=may_pass, cache_policy=NO_CACHE
)
def stage(verb: str, order: Order) -> Outcome:
    """Run one stage; a stage finds for itself what is already done, so nothing is cached here."""
    return guarded(outcomes.perform, verb, order)


def record(verbs: Sequence[str], order: Order) -> Outcomes:
    """Run stages as tasks; the run ends as Completed, or as DoneInPart with what is missing."""
    liveness.stand_up(flow_run.id)
    with fan_out.over(order.study.config.run.dask), watching.on_the_page():
        done = outcomes.follow(verbs, order, stage)
    artifacts.publish(done, order)
    events.announce(done, order)
    missing = [problem for outcome in done for problem in outcome.unfinished]
    state: State[Outcomes] = Completed(
        name="DoneInPart" if missing else "Completed", message="; ".join(missing) or None, data=done
    )
    return cast(Outcomes, state)  # a flow that returns a state gives the state's data to its caller
