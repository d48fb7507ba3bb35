"""Work of the stages on a Dask cluster that is there already, as recorded tasks of some jobs each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from siamese_med.errors import ServerError
from siamese_med.flows.failures import StageFailed, call_hiding_error_text
from siamese_med.runtime import parallel

DASK_CONNECT_TIMEOUT_S, TASKS_PER_THREAD = (
    10,
    2,
)  # the latter: tasks for each thread of the cluster: one at work, one at hand


@task(name="part", task_run_name="{label} {number}", cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def run_dask_job(label: str, number: int, work: Callable[[], Any]) -> Any:  # noqa: ARG001 - they name it
    """One piece of a stage's work; whoever asked for it writes down what comes of it."""
    return call_hiding_error_text(work)


class DaskCluster:
    """Work as Prefect tasks on the cluster that `runner` is connected to."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def each(self, work: Callable[[Any], Any], jobs: Iterable[Any], label: str) -> Iterator[Any]:
        """Results in the jobs' order; a killed worker's jobs are done again by another."""
        flying: deque[Any] = deque()
        most = TASKS_PER_THREAD * max(1, sum(self._runner.client.nthreads().values()))
        for number, job in enumerate(jobs, start=1):
            if len(flying) >= most:
                yield flying.popleft().result()
            call = {"label": label, "number": number, "work": partial(work, job)}  # Prefect looks into no partial
            flying.append(self._runner.submit(run_dask_job, call))
        yield from (future.result() for future in flying)


@contextmanager
def spread_over_dask(address: str | None) -> Iterator[None]:
    """Spread the work inside the block over the cluster of a scheduler; without an address nothing changes."""
    if address is None:
        yield
        return
    from prefect_dask.task_runners import DaskTaskRunner

    with DaskTaskRunner(address=address, client_kwargs={"timeout": DASK_CONNECT_TIMEOUT_S}) as runner:
        try:
            runner.client.nthreads()
        except (OSError, ValueError) as error:
            raise StageFailed(ServerError("no Dask scheduler answers at run.dask: is it up?")) from error
        with parallel.use_cluster(DaskCluster(runner)):
            yield
