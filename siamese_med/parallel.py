"""Independent pieces of work on all cores, in order, with a progress bar where someone looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

HEAVY = ["torch", "scipy.ndimage"]
"""Imported once, by the server that the processes are forked from; nothing has run in it yet, so forking is safe."""
FEW = 4
"""Fewer jobs than this are done before another process has imported torch."""


def in_parallel(
    work: Callable[[Job], Result], jobs: Sequence[Job], label: str, processes: int | None = None
) -> Iterator[Result]:
    """Apply `work` to every job, in one process a core, and yield the results in the jobs' order.

    Each has one thread, because torch's threads on volumes this small wait for one another more than they work.
    """
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor

    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    quiet = not console.is_terminal
    workers = min(processes or os.cpu_count() or 1, len(jobs))
    if workers < 2 or len(jobs) < FEW:
        yield from track(map(work, jobs), label, len(jobs), console=console, disable=quiet, transient=True)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        done = pool.map(work, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))
        yield from track(done, label, len(jobs), console=console, disable=quiet, transient=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
