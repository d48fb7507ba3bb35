"""Independent pieces of work on all cores of this machine, or on those of others, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from siamese_med.runtime import progress

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

Job = TypeVar("Job")
Result = TypeVar("Result")

FORKSERVER_PRELOAD_MODULES = ["torch", "scipy.ndimage"]
"""Imported once, by the server that the processes are forked from; nothing has run in it yet, so forking is safe."""
MIN_PARALLEL_JOBS = 4
"""Fewer jobs than this are done before another process has imported torch."""
MAX_JOBS_PER_BATCH = 16
"""Jobs that travel together at most: sending them costs a process some milliseconds, another machine half a second."""


class Cluster(Protocol):
    """Other machines that share this one's folders."""

    def each(self, work: Callable[[Any], Any], jobs: Iterable[Any], label: str) -> Iterator[Any]:
        """Apply `work` to every job somewhere and yield the results in the jobs' order; few are in flight at once."""


CURRENT_CLUSTER: ContextVar[Cluster | None] = ContextVar("CLUSTER", default=None)


@contextmanager
def use_cluster(cluster: Cluster) -> Iterator[None]:
    """Have the work inside the block done by a cluster; what is written down stays with this process alone."""
    before = CURRENT_CLUSTER.set(cluster)
    try:
        yield
    finally:
        CURRENT_CLUSTER.reset(before)


def run_in_parallel(
    work: Callable[[Job], Result], jobs: Sequence[Job], label: str, processes: int | None = None
) -> Iterator[Result]:
    """Apply `work` to every job, in one process a core or on the cluster, and yield the results in the jobs' order.

    Each has one thread, because torch's threads on volumes this small wait for one another more than they work. So has
    this process where it does the work itself: with more of them last digits would follow from how many jobs there are.
    """
    with progress.show_progress(label, len(jobs)) as advance:
        for result in _run_jobs(work, jobs, label, processes):
            advance(1)
            yield result


def _run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], label: str, processes: int | None
) -> Iterator[Result]:
    import os

    cluster = CURRENT_CLUSTER.get()
    workers = min(processes or os.cpu_count() or 1, len(jobs))
    together = max(1, min(MAX_JOBS_PER_BATCH, len(jobs) // (4 * max(workers, 1))))
    if len(jobs) >= MIN_PARALLEL_JOBS and cluster:
        for done in cluster.each(partial(_run_job_batch, work), split_into_batches(jobs, together), label):
            yield from done
        return
    if workers < 2 or len(jobs) < MIN_PARALLEL_JOBS:
        with _hold_one_thread():
            yield from map(work, jobs)
        return
    with _pool(workers) as pool:
        yield from pool.map(work, jobs, chunksize=together)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block: when their work is done, at once where it is not wanted any more."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    _start_resource_tracker()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(FORKSERVER_PRELOAD_MODULES)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_initialise_pool_process)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()  # not by SIGTERM, which is blocked in them below a supervisor
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_resource_tracker() -> None:
    """Start Python's keeper of semaphores so that it says nothing of those that a killed run leaves, but frees them."""
    import signal
    import sys
    from multiprocessing import resource_tracker

    before, options = signal.pthread_sigmask(signal.SIG_BLOCK, ()), list(sys.warnoptions)
    sys.warnoptions.append("ignore::UserWarning")  # it takes over these options when it starts
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = options
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # it unblocks them


def split_into_batches(jobs: Iterable[Job], size: int) -> Iterator[list[Job]]:
    """The jobs in lists of `size`, the last one shorter, taken as they are asked for."""
    upcoming = iter(jobs)
    while batch := list(islice(upcoming, size)):
        yield batch


def _run_job_batch(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    _use_one_thread()
    return [work(job) for job in jobs]


def _initialise_pool_process() -> None:
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked for the work ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _use_one_thread()


def _end_with_parent() -> None:
    """A process that waits for work does not notice that nobody is left to send any, and keeps the fork server up."""
    import os
    from multiprocessing import connection, parent_process

    if parent := parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@contextmanager
def _hold_one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
