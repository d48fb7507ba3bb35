"""Run the stages' work on an existing Dask cluster, as recorded tasks."""

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
from siamese_med.runtime.extras import require_extra

DASK_CONNECT_TIMEOUT_S = 10
TASKS_PER_THREAD = 2
"""Tasks that are submitted for each thread of the cluster: one that runs and one that waits."""


@task(name="part", task_run_name="{label} {number}", cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def run_dask_job(label: str, number: int, work: Callable[[], Any]) -> Any:  # noqa: ARG001 - they name it
    """Run one job of a stage on the cluster and return its result, which the caller saves.

    Parameters
    ----------
    label, number
        Name the task in Prefect's records.
    work
        The job; its errors come out as StageFailed.
    """
    return call_hiding_error_text(work)


class DaskCluster:
    """Cluster that runs jobs as Prefect tasks; see `runtime.parallel.use_cluster`.

    Parameters
    ----------
    runner
        Connected `prefect_dask.DaskTaskRunner`.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def each(self, work: Callable[[Any], Any], jobs: Iterable[Any], label: str) -> Iterator[Any]:
        """Run `work` for every job on the cluster and yield the results in the order of the jobs.

        At most TASKS_PER_THREAD tasks for each thread are submitted at a time. Dask repeats the jobs of a worker that
        was killed.
        """
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
    """Run the work inside the block on the cluster of the Dask scheduler at `address`; on this machine if it is None.

    Raises StageFailed if no scheduler answers, or the `dask` extra is not installed.
    """
    if address is None:
        yield
        return
    call_hiding_error_text(require_extra, "dask")
    from prefect_dask.task_runners import DaskTaskRunner

    with DaskTaskRunner(address=address, client_kwargs={"timeout": DASK_CONNECT_TIMEOUT_S}) as runner:
        try:
            runner.client.nthreads()
        except (OSError, ValueError) as error:
            raise StageFailed(ServerError("no Dask scheduler answers at run.dask: is it up?")) from error
        with parallel.use_cluster(DaskCluster(runner)):
            yield
