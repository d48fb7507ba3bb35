"""Run independent jobs on all cores of this machine or on a cluster, with results in the order of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from siamese_med.runtime import memory, progress

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

Job = TypeVar("Job")
Result = TypeVar("Result")

FORKSERVER_PRELOAD_MODULES = ["torch", "scipy.ndimage"]
"""Modules that the fork server imports once, before it forks processes. It has no threads, so forking is safe."""
MIN_PARALLEL_JOBS = 4
"""Fewer jobs than this run in this process: they are done before another process has imported torch."""
MAX_JOBS_PER_BATCH = 16
"""Jobs are sent in batches of at most this size. Sending a batch takes some milliseconds to a process, half a second to
another machine."""


class Cluster(Protocol):
    """Other machines that see the same folders under the same paths; implemented by `flows` with Dask."""

    def each(self, work: Callable[[Any], Any], jobs: Iterable[Any], label: str) -> Iterator[Any]:
        """Apply `work` to every job on the cluster and yield the results in the order of the jobs.

        `jobs` is consumed lazily: only a few jobs are sent at a time. `label` names the work in logs.
        """


CURRENT_CLUSTER: ContextVar[Cluster | None] = ContextVar("CLUSTER", default=None)
"""The cluster that `run_in_parallel` uses; None for the cores of this machine."""


@contextmanager
def use_cluster(cluster: Cluster) -> Iterator[None]:
    """Have `run_in_parallel` use a cluster inside the block. Only this process writes catalogue and tables."""
    before = CURRENT_CLUSTER.set(cluster)
    try:
        yield
    finally:
        CURRENT_CLUSTER.reset(before)


def run_in_parallel(
    work: Callable[[Job], Result], jobs: Sequence[Job], label: str, processes: int | None = None
) -> Iterator[Result]:
    """Apply `work` to every job, in one process per core or on the cluster, and yield the results in their order.

    `work` and the jobs must be picklable. Each process uses one torch thread: on small volumes, threads mostly wait for
    one another. This process also uses one thread when it does the work itself, because otherwise the last digits of
    the results would depend on the number of jobs.

    Parameters
    ----------
    label
        What the progress bar says.
    processes
        Number of processes; the number of cores if None.

    Examples
    --------
    >>> list(run_in_parallel(abs, [-1, 2, -3], "counting"))
    [1, 2, 3]
    """
    with progress.show_progress(label, len(jobs)) as advance:
        for result in _run_jobs(work, jobs, label, processes):
            advance(1)
            yield result


THREADS_FOR_JOBS: ContextVar[int] = ContextVar("THREADS_FOR_JOBS", default=1)
"""Number of jobs that `run_in_threads` runs in parallel."""


@contextmanager
def use_threads_for_jobs() -> Iterator[None]:
    """Inside the block torch works with one thread, and `run_in_threads` with as many as torch had before.

    So the cores are used, and no digit of a result depends on their number.
    """
    import torch

    before = THREADS_FOR_JOBS.set(torch.get_num_threads())
    try:
        with _hold_one_thread():
            yield
    finally:
        THREADS_FOR_JOBS.reset(before)


def run_in_threads(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    """Apply `work` to every job and return the results in their order; side by side within `use_threads_for_jobs`.

    For few jobs of seconds each, which are done before other processes have imported torch. Each job works with one
    torch thread, so its result does not depend on how many there are. `work` may not change what the jobs share.

    Examples
    --------
    >>> run_in_threads(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    from concurrent.futures import ThreadPoolExecutor

    threads = min(THREADS_FOR_JOBS.get(), len(jobs))
    with _hold_one_thread():
        if threads < 2:
            return [work(job) for job in jobs]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, jobs))


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
            for job in jobs:  # not `map`, in which a StopIteration of `work` would end the results without an error
                yield work(job)
        return
    with _pool(workers) as pool:
        yield from pool.map(work, jobs, chunksize=together)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the block: after their work, or at once if the block is left by an error."""
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
    """Start Python's resource tracker such that it frees the semaphores of a killed run without a warning."""
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
    """Split jobs into lists of `size`, the last one shorter; `jobs` is consumed lazily.

    Examples
    --------
    >>> list(split_into_batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    upcoming = iter(jobs)
    while batch := list(islice(upcoming, size)):
        yield batch


def _run_job_batch(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    _use_one_thread()
    return [work(job) for job in jobs]


def _initialise_pool_process() -> None:
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _use_one_thread()


def _end_with_parent() -> None:
    """End this process when its parent has ended: while it waits for work, it would not notice, and stay forever."""
    import os
    from multiprocessing import connection, parent_process

    if parent := parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    memory.keep_freed_memory()


@contextmanager
def _hold_one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
